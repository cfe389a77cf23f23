"""The trainer's revision: part of every job, raised whenever the same job would come out with other numbers."""

TRAINER_REVISION = 1
