//! Tests of the SQL filter.
