// SPDX-License-Identifier: Apache-2.0
//
// What calls are told. A part of hypeman.hpp: include that.
#ifndef HYPEMAN_OPTIONS_HPP
#define HYPEMAN_OPTIONS_HPP

#include "instance.hpp"
#include "snapshot.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace hypeman {

// What to capture, and how to call it.
struct CreateOptions {
    Kind kind;
    std::optional<std::string> name = std::nullopt;
    Tags tags = {};
    std::optional<Compression> compression = std::nullopt;
};

// How to restore a snapshot onto the instance that it was taken of.
struct RestoreOptions {
    std::optional<std::string> target_state = std::nullopt; // "Running", "Standby" or "Stopped"
    std::optional<std::filesystem::path> api_socket = std::nullopt;
    std::map<std::string, std::string> network_overrides = {}; // devices of the host, by interface id
    bool on_demand = false;
    bool allow_incompatible = false;
    std::optional<std::filesystem::path> uffd_socket = std::nullopt;
    std::optional<std::string> duplicates = std::nullopt; // "allow" or "deny"
};

// Where a fork goes and what it is to be.
struct ForkOptions {
    std::optional<std::filesystem::path> directory = std::nullopt;
    std::map<std::filesystem::path, std::filesystem::path> disks = {}; // new paths, by the path at capture
    RestoreOptions restore = {};
};

// How to serve the memory of a snapshot.
struct ServeOptions {
    std::optional<std::filesystem::path> socket = std::nullopt; // where to listen; else a path of its own
    std::optional<std::uint64_t> cache_bytes = std::nullopt;    // decoded memory that is kept; else 64 MiB
    bool prefetch = true;                                       // what an earlier VM wanted first is installed ahead
    bool fill = false;                                          // and all the rest in the background
    std::optional<std::uint32_t> spin_us = std::nullopt;        // busy waiting after a fault, to 1000; else 30
    std::vector<std::uint32_t> cpus = {};                       // for the threads of the pager; else all
};

// Which snapshots to list: what is set must match, exactly.
struct ListOptions {
    std::optional<Kind> kind = std::nullopt;
    std::optional<std::string> name = std::nullopt;
    std::optional<std::string> source_instance_id = std::nullopt;
    Tags tags = {};
};

// What the host tells of a VM that it runs.
struct RegisterOptions {
    std::string name;
    std::string hypervisor;
    std::optional<std::string> id = std::nullopt;
    std::optional<std::filesystem::path> api_socket = std::nullopt;
    std::optional<std::filesystem::path> directory = std::nullopt;
    std::vector<Disk> disks = {};
    std::optional<Compression> compression = std::nullopt;
    std::optional<std::filesystem::path> staging_directory = std::nullopt; // one that the VMM can reach, too
    std::optional<std::filesystem::path> staging_directory_in_vmm = std::nullopt;
    bool exclusive_snapshots = false; // a promise: no other program takes snapshots of this VM
};

enum class LogLevel : std::int32_t {
    Info = HYPEMAN_LOG_LEVEL_INFO,
    Warning = HYPEMAN_LOG_LEVEL_WARNING,
};

// Something that happened; the texts are lent for the time of the callback.
struct LogEvent {
    LogLevel level;
    const char *message;
    const char *id; // of the snapshot or instance that it is about
};

using Log = std::function<void(const LogEvent &)>;

namespace detail {

// What a log throws goes no further: there is no call of the program's to throw it.
inline void log(std::int32_t level, const char *message, const char *id, void *user) noexcept {
    try {
        (*static_cast<const Log *>(user))({static_cast<LogLevel>(level), message, id});
    } catch (...) {
    }
}

} // namespace detail

// How to open a data directory.
struct OpenOptions {
    bool read_only = false;
    bool allow_network_fs = false;
    bool owns_server_instances = false;
    std::uint32_t threads = 0; // 0: as many as there are CPUs
    std::optional<Compression> compression = std::nullopt;
    std::optional<std::string> durability = std::nullopt; // "full" or "relaxed"
    // Hears of what happens in the background, on any thread and on several at once. It must not use the library.
    Log log = nullptr;
    bool offload_memory = false;
};

namespace detail {

// Restore options in C, which borrow from what they were made of.
class RawRestore {
public:
    explicit RawRestore(const RestoreOptions &given) {
        for (const auto &[interface_id, host_device] : given.network_overrides)
            overrides_.push_back({text(interface_id), text(host_device)});
        options.target_state = text(given.target_state);
        options.api_socket = text(given.api_socket);
        options.network_overrides = overrides_.empty() ? nullptr : overrides_.data();
        options.network_override_count = overrides_.size();
        options.on_demand = given.on_demand;
        options.allow_incompatible = given.allow_incompatible;
        options.uffd_socket = text(given.uffd_socket);
        options.duplicates = text(given.duplicates);
    }
    RawRestore(const RawRestore &) = delete;
    RawRestore &operator=(const RawRestore &) = delete;

    hypeman_restore_options options = HYPEMAN_RESTORE_OPTIONS_INIT;

private:
    std::vector<hypeman_network_override> overrides_;
};

} // namespace detail

} // namespace hypeman

#endif
