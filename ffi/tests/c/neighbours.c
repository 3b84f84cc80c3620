/* A program that has names which libhypeman's parts have, too, and a library in Rust of its own. */
#include "check.h"

int neighbour_catches_its_panic(void);
int ZSTD_versionNumber(void);
int LZ4_versionNumber(void);
size_t ZSTD_compress(void);

int ZSTD_versionNumber(void) { return -1; }
int LZ4_versionNumber(void) { return -2; }
size_t ZSTD_compress(void) { return 3; }

int main(void)
{
    hypeman_error *err = NULL;
    CHECK(neighbour_catches_its_panic());
    CHECK(hypeman_selftest_panic(&err) == HYPEMAN_STATUS_INTERNAL);
    hypeman_error_free(err);
    CHECK(neighbour_catches_its_panic());
    CHECK(ZSTD_versionNumber() == -1 && LZ4_versionNumber() == -2 && ZSTD_compress() == 3);
    return 0;
}
