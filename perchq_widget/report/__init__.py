"""What we hand over: reports, figures, exports. Builds on core and study; recomputes nothing."""
