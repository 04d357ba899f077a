"""Did it get better? Measures with an interval, judged by checkers that know the truth."""
