// hypeman.hpp stands alone and can be included twice, before or after hypeman.h.
#include <hypeman.hpp>
#include <hypeman.hpp>
#include <hypeman.h>

int main()
{
    return hypeman::Compression{}.enabled ? 0 : 1;
}
