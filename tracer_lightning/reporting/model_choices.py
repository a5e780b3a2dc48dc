"""Models of a run whose results are compared, by their keys in results.json."""

ZERO_SHOT, STUDENT, TEACHER = "zero_shot", "student", "teacher"
CHOICES = {
    STUDENT: (ZERO_SHOT, STUDENT),
    TEACHER: (ZERO_SHOT, TEACHER),
    ZERO_SHOT: (ZERO_SHOT,),
    "all": (ZERO_SHOT, STUDENT, TEACHER),
}
"""Models that are shown for each choice of a model."""
