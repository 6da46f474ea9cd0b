//! What crosses layers: real processes, real clients, whole clusters
