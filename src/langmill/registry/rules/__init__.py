"""The gate's rules, one file each; `base.py` says what a rule is and how another distribution brings one."""
