//! The Docker engine: replicas as containers of a Docker Engine on this machine.
