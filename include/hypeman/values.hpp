// SPDX-License-Identifier: Apache-2.0
//
// What both requests and results have: compression and tags. A part of hypeman.hpp: include that.
#ifndef HYPEMAN_VALUES_HPP
#define HYPEMAN_VALUES_HPP

#include "error.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace hypeman {

using Tags = std::map<std::string, std::string>;

// Compression of guest memory; as it is made, on with the default algorithm at its default level.
struct Compression {
    bool enabled = true;
    std::optional<std::string> algorithm; // "zstd" or "lz4"
    std::optional<std::int64_t> level;    // zstd: 1 to 19; lz4: 0 to 9

    static std::optional<Compression> from(const hypeman_compression *raw) {
        if (!raw) return std::nullopt;
        return Compression{raw->enabled != 0, detail::optional(raw->algorithm),
                           raw->has_level ? std::optional<std::int64_t>(raw->level) : std::nullopt};
    }
};

namespace detail {

// Compression as C sees it, for the time of a call.
struct RawCompression {
    explicit RawCompression(const std::optional<Compression> &given) {
        if (!given) return;
        raw.enabled = given->enabled;
        raw.has_level = given->level.has_value();
        raw.level = given->level.value_or(0);
        raw.algorithm = text(given->algorithm);
        pointer = &raw;
    }
    RawCompression(const RawCompression &) = delete;
    RawCompression &operator=(const RawCompression &) = delete;

    hypeman_compression raw = HYPEMAN_COMPRESSION_INIT;
    const hypeman_compression *pointer = nullptr;
};

inline std::vector<hypeman_tag> raw(const Tags &tags) {
    std::vector<hypeman_tag> raw;
    for (const auto &[key, value] : tags) raw.push_back({text(key), text(value)});
    return raw;
}

} // namespace detail

} // namespace hypeman

#endif
