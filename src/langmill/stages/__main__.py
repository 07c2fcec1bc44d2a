"""`python -m langmill.stages STAGE [NAME]`: the process of a stage, as dvc.yaml starts it."""

from langmill.stages.process import run_stage

if __name__ == "__main__":
    run_stage()
