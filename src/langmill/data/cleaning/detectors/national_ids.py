"""Identity numbers of countries, each by what its issuer says of its shape and check digits.

A number whose check digit is right by chance one time in ten or eleven is one only beside a word that names it, or
where its separators are the issuer's own.
"""

from __future__ import annotations

import re

from langmill.data.cleaning.detectors.base import DETECTORS, LONG_NUMBER, Certainty, PatternDetector, named_near
from langmill.data.cleaning.detectors.checksums import digits_of, mod_11_10, verhoeff, weighted

_ALONE = r"(?![\w]|[-.,][0-9])"  # what follows is no part of it
# What precedes: no sign of a word or a decimal. Behind the first digit, so that digits are what is searched for.
_FIRST = r"[0-9](?<![\w.,][0-9])(?<![0-9]-[0-9])"


class NationalId(PatternDetector):
    """An identity number; the placeholder does not say of which country."""

    label = "NATIONAL_ID"
    certainty = Certainty.proved
    hints = (LONG_NUMBER,)


_SSN = re.compile(_FIRST + r"[0-9]{2}(?P<separator>[- ]?)[0-9]{2}(?P=separator)[0-9]{4}" + _ALONE)
_SSN_WORDS = re.compile(r"\b(?:ssns?|social security|soc\.? ?sec)\b", re.IGNORECASE)
_SSN_PRINTED = {"078051120", "219099999", "457555462", "123456789"}  # in advertisements and handbooks


@DETECTORS.register("us_ssn")
class UsSsn(NationalId):
    """US social security numbers; they have no check digit.

    No area 000, 666 or 900 to 999, no group 00, no serial number 0000 (Social Security Administration, Randomization
    FAQ, https://www.ssa.gov/employer/randomizationfaqs.html).
    """

    certainty = Certainty.shape
    pattern = _SSN

    def holds(self, match: re.Match[str]) -> bool:
        """With hyphens by its shape, else beside a word for it."""
        digits = "".join(filter(str.isdigit, match[0]))
        area, group, serial = digits[:3], digits[3:5], digits[5:]
        if area in {"000", "666"} or area[0] == "9" or group == "00" or serial == "0000" or digits in _SSN_PRINTED:
            return False
        return match["separator"] == "-" or named_near(_SSN_WORDS, match.string, match.span())


_STEUER_ID = re.compile(_FIRST + r"(?:[0-9]{10}|[0-9] [0-9]{3} [0-9]{3} [0-9]{3})" + _ALONE)


@DETECTORS.register("de_tax_id")
class DeTaxId(NationalId):
    """German tax identification numbers (Steuer-ID), § 139b AO.

    Eleven digits, the first none 0; of the first ten exactly one stands twice or three times (not three in a row); the
    last by ISO/IEC 7064 MOD 11,10 (Bundeszentralamt für Steuern, Prüfziffernberechnung, 2016).
    """

    pattern = _STEUER_ID

    def holds(self, match: re.Match[str]) -> bool:
        """One random number in 250 is one."""
        digits = digits_of(match[0])
        first = digits[:10]
        counts = sorted(map(first.count, set(first)))
        thrice = counts[-1] == 3 and not any(first[at] == first[at + 1] == first[at + 2] for at in range(8))
        return digits[0] != 0 and counts[-2] == 1 and (counts[-1] == 2 or thrice) and mod_11_10(digits)


_DNI = re.compile(
    r"(?<![\w.,-])(?:[XYZxyz][-. ]?[0-9]{7}|[0-9]{8}|[0-9]{1,2}\.[0-9]{3}\.[0-9]{3})[- ]?[A-HJ-NP-TV-Za-hj-np-tv-z]"
    r"(?!\w)"
)
_DNI_HINT = re.compile(r"[0-9](?:[0-9]{6}|\.[0-9]{3}\.[0-9]{3})[0-9]?[- ]?[A-Za-z]")
_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"


@DETECTORS.register("es_dni")
class EsDni(NationalId):
    """Spanish DNI and NIE: the letter is that of the number modulo 23; X, Y, Z of a NIE are 0, 1, 2.

    Ministerio del Interior, Cálculo del dígito de control del NIF-NIE.
    """

    hints = (_DNI_HINT,)
    pattern = _DNI

    def holds(self, match: re.Match[str]) -> bool:
        """One random number with a letter in 23 is one."""
        plain = re.sub(r"[-. ]", "", match[0]).upper()
        number = plain[:-1].translate(str.maketrans("XYZ", "012"))
        return _DNI_LETTERS[int(number) % 23] == plain[-1]


_CODICE = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]{6}[0-9LMNPQRSTUVlmnpqrstuv]{2}[A-EHLMPR-Ta-ehlmpr-t][0-9LMNPQRSTUVlmnpqrstuv]{2}[A-Za-z]"
    r"[0-9LMNPQRSTUVlmnpqrstuv]{3}[A-Za-z](?![A-Za-z0-9])"
)
_CODICE_HINT = re.compile(r"[0-9][A-Ta-t][0-9L-Vl-v]{2}[A-Za-z][0-9L-Vl-v]")
_OMOCODIA = str.maketrans("LMNPQRSTUV", "0123456789")
_ODD_DIGITS = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21)
_ODD_LETTERS = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


@DETECTORS.register("it_codice_fiscale")
class ItCodiceFiscale(NationalId):
    """Italian fiscal codes, also with letters for digits (omocodia).

    Check letter by the tables of the Decreto Ministeriale of 23 December 1976, n. 13813, article 6.
    """

    hints = (_CODICE_HINT,)
    pattern = _CODICE

    def holds(self, match: re.Match[str]) -> bool:
        """Whether the day of birth is one and the check letter is right."""
        code = match[0].upper()
        day = code[9:11].translate(_OMOCODIA)
        if not day.isdigit() or not (1 <= int(day) <= 31 or 41 <= int(day) <= 71):
            return False
        total = sum(
            (_ODD_LETTERS, range(26))[at % 2][ord(sign) - 65]
            if sign.isalpha()
            else (_ODD_DIGITS, range(10))[at % 2][int(sign)]
            for at, sign in enumerate(code[:15])
        )
        return chr(65 + total % 26) == code[15]


_NIR = re.compile(
    r"[1-478](?<![\w.,][0-9]) ?[0-9]{2} ?(?:0[1-9]|1[0-2]|[2-9][0-9]) ?(?:[0-9]{2}|2[ABab]) ?[0-9]{3} ?[0-9]{3}[ -]?"
    r"[0-9]{2}" + _ALONE
)


@DETECTORS.register("fr_nir")
class FrNir(NationalId):
    """French social security numbers (NIR) with their key: 97 less the number modulo 97; Corsica's 2A is 19, 2B is 18.

    INSEE, Numéro d'inscription au répertoire; Décret 82-103 of 22 January 1982.
    """

    pattern = _NIR

    def holds(self, match: re.Match[str]) -> bool:
        """One random number in 97 of that shape is one."""
        plain = re.sub(r"[ -]", "", match[0]).upper()
        number = plain[:13].replace("2A", "19").replace("2B", "18")
        return 97 - int(number) % 97 == int(plain[13:])


_BSN = re.compile(
    _FIRST
    + r"(?:[0-9]{7,8}|[0-9]{3}\.[0-9]{2}\.[0-9]{3}|[0-9]{2}(?P<separator>[. ])[0-9]{3}(?P=separator)[0-9]{3})"
    + _ALONE
)
_BSN_WORDS = re.compile(r"\b(?:bsn|burgerservice\w*|sofi\w*|citizen service number)\b", re.IGNORECASE)


@DETECTORS.register("nl_bsn")
class NlBsn(NationalId):
    """Dutch citizen service numbers, beside a word for them: weights 9 to 2 and -1 give a multiple of 11.

    Logisch ontwerp BSN, annex on the eleven test (Rijksdienst voor Identiteitsgegevens).
    """

    pattern = _BSN

    def holds(self, match: re.Match[str]) -> bool:
        """A word for it, and the eleven test, which one random number in eleven passes."""
        digits = digits_of(match[0])
        padded = [0] * (9 - len(digits)) + digits
        right = any(padded) and weighted(padded, (9, 8, 7, 6, 5, 4, 3, 2, -1)) == 0
        return right and named_near(_BSN_WORDS, match.string, match.span())


_NINO = re.compile(
    r"(?<![A-Za-z0-9])[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?P<separator>[ -]?)"
    r"[0-9]{2}(?P=separator)[0-9]{2}(?P=separator)[0-9]{2}(?P=separator)[A-D](?![A-Za-z0-9])"
)


@DETECTORS.register("uk_nino")
class UkNino(NationalId):
    """British National Insurance numbers; they have no check digit.

    Two letters without D, F, I, Q, U, V (and no O as the second), not BG, GB, KN, NK, NT, TN or ZZ, six digits, A to D
    (HMRC, National Insurance Manual NIM39110).
    """

    certainty = Certainty.shape
    pattern = _NINO

    def holds(self, match: re.Match[str]) -> bool:
        """Whether the prefix has been given out."""
        return match[0][:2] not in {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"}


_NHS = re.compile(_FIRST + r"[0-9]{2}(?P<separator>[ -]?)[0-9]{3}(?P=separator)[0-9]{4}" + _ALONE)
_NHS_WORDS = re.compile(r"\bnhs\b|national health service", re.IGNORECASE)


@DETECTORS.register("uk_nhs")
class UkNhs(NationalId):
    """British NHS numbers, beside a word for them: weights 10 to 2, 11 less the remainder modulo 11.

    NHS Data Dictionary, NHS NUMBER.
    """

    pattern = _NHS

    def holds(self, match: re.Match[str]) -> bool:
        """A word for it, and the check digit, which one random number in eleven has."""
        digits = digits_of(match[0])
        check = (11 - weighted(digits[:9], range(10, 1, -1))) % 11
        return check == digits[9] and named_near(_NHS_WORDS, match.string, match.span())


_CPF_WORDS = re.compile(r"\bcpf\b|cadastro de pessoa", re.IGNORECASE)
_CPF = re.compile(_FIRST + r"(?:[0-9]{2}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}|[0-9]{8}-?[0-9]{2})" + _ALONE)


@DETECTORS.register("br_cpf")
class BrCpf(NationalId):
    """Brazilian CPF numbers: two check digits modulo 11 (Receita Federal, Instrução Normativa RFB 2.172 of 2024)."""

    pattern = _CPF

    def holds(self, match: re.Match[str]) -> bool:
        """Both check digits, which one random number in a hundred has; a bare run of digits beside the word."""
        digits = digits_of(match[0])
        right = len(set(digits)) > 1 and all(
            -weighted(digits[:count], range(count + 1, 1, -1)) % 11 % 10 == digits[count] for count in (9, 10)
        )
        return right and ("-" in match[0] or named_near(_CPF_WORDS, match.string, match.span()))


_AADHAAR = re.compile(
    r"[2-9](?<![\w.,][0-9])(?<![0-9][ -][0-9])[0-9]{3}(?P<separator>[ -]?)[0-9]{4}(?P=separator)[0-9]{4}"
    + _ALONE
    + r"(?![ -][0-9])"
)
_AADHAAR_WORDS = re.compile(r"\b(?:aadhaar|aadhar|adhaar|uidai|uid)\b|आधार", re.IGNORECASE)


@DETECTORS.register("in_aadhaar")
class InAadhaar(NationalId):
    """Indian Aadhaar numbers: twelve digits, the first 2 to 9, the last by Verhoeff's scheme (UIDAI).

    In groups of four, as the card has them, by the check digit, else beside a word for it.
    """

    pattern = _AADHAAR

    def holds(self, match: re.Match[str]) -> bool:
        """The check digit, which one random number in ten has."""
        digits = digits_of(match[0])
        if not verhoeff(digits) or digits == digits[::-1]:  # UIDAI gives out no palindromes
            return False
        return match["separator"] == " " or named_near(_AADHAAR_WORDS, match.string, match.span())
