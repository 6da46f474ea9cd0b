//! A Ferrolite node: replica, peers, client protocol and the ferrolite program
