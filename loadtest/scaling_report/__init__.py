"""The page with the results of the scaling study, made of the raw results alone."""
