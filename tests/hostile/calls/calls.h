/* Calls of the C ABI that bytes choose; see calls.c. */
#ifndef CALLS_H
#define CALLS_H

#include <stddef.h>
#include <stdint.h>

/* Makes what calls play on in the directory `root`, which exists. Once in a process. */
void calls_prepare(const char *root);

/* Makes the calls that the bytes stand for, and gives back all that they made. Returns how many there were; a broken
   promise of the header ends the process. Several threads may do so at once. */
uint64_t calls_play(const uint8_t *data, size_t size);

#endif
