/* The header stands alone, can be included twice, and its _INIT macros fit their structs: in C99 and in C++17. */
#include <hypeman.h>
#include <hypeman.h>

int main(void)
{
    hypeman_open_options open = HYPEMAN_OPEN_OPTIONS_INIT;
    hypeman_register_options registration = HYPEMAN_REGISTER_OPTIONS_INIT;
    hypeman_create_options create = HYPEMAN_CREATE_OPTIONS_INIT;
    hypeman_list_options list = HYPEMAN_LIST_OPTIONS_INIT;
    hypeman_restore_options restore = HYPEMAN_RESTORE_OPTIONS_INIT;
    hypeman_call_options call = HYPEMAN_CALL_OPTIONS_INIT;
    hypeman_compression compression = HYPEMAN_COMPRESSION_INIT;
    return open.struct_size && registration.struct_size && create.struct_size && list.struct_size
                   && restore.struct_size && call.struct_size && compression.enabled
               ? 0
               : 1;
}
