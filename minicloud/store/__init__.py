"""Where membership is kept: the port every store fits, and the stores."""
