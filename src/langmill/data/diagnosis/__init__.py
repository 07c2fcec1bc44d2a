"""Why a data file is not read as it was meant to be, in the words of somebody who can mend it."""
