"""Reports: what one comparison found, and the writers that put it into words, pages and files."""
