"""From a request to a report: open both sides, settle the weights, run, judge, localise; recordings."""
