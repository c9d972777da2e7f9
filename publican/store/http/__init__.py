"""HTTP as downloading needs it: tokens that stay home, redirects by hand, patience with servers, ranges that are checked."""
