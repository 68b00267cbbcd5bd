"""What the study `competition` alone needs: a plan that fits the time, its pages, and what is handed in."""
