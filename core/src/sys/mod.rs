//! Every unsafe block and every raw system call, each with its SAFETY; what differs between systems.
