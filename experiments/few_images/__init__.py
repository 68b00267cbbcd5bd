"""What only the study of training-set sizes needs: the epoch picked, and the parts of its report."""
