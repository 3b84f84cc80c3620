// SPDX-License-Identifier: Apache-2.0
//
// libhypeman for C++17: hypeman.h with RAII, exceptions and the standard library's types. Header only.
//
//     hypeman::Hypeman hm("/var/lib/hypeman");
//     hypeman::Snapshot s = hm.instances().snapshots().create("nginx1", {hypeman::Kind::Standby, "baseline"});
//     for (const hypeman::Snapshot &each : hm.snapshots().list()) std::cout << each.id() << '\n';
//
// Every call throws hypeman::Error. Objects are cheap to copy, immutable (but for Cancel, whose use from several
// threads is its purpose), may be used by any thread, and may outlive the Hypeman they were made with. Calls block.
// See hypeman.h for what each call does.
#ifndef HYPEMAN_HPP
#define HYPEMAN_HPP

#include "hypeman.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace hypeman {

using Tags = std::map<std::string, std::string>;

// What went wrong in a call: what() says what happened and what to do, code() is stable.
class Error : public std::runtime_error {
public:
    Error(hypeman_status status, const std::string &message)
        : std::runtime_error(message), status_(status) {
        if (const char *code = hypeman_status_code(status)) code_ = code;
    }

    // Takes the error over.
    static Error taken(hypeman_error *raw) {
        const std::unique_ptr<hypeman_error, decltype(&hypeman_error_free)> error(raw, hypeman_error_free);
        Error made(hypeman_error_status(raw), hypeman_error_message(raw));
        made.code_ = hypeman_error_code(raw);
        if (const char *path = hypeman_error_path(raw)) made.path_ = path;
        if (const char *id = hypeman_error_id(raw)) made.id_ = id;
        made.system_ = hypeman_error_errno(raw);
        const std::unique_ptr<char, decltype(&hypeman_string_free)> json(hypeman_error_to_json(raw), hypeman_string_free);
        if (json) made.json_ = json.get();
        return made;
    }

    // One of HYPEMAN_STATUS_...
    hypeman_status status() const noexcept { return status_; }
    // The stable code string, such as "not_found".
    const std::string &code() const noexcept { return code_; }
    // The path concerned, where there is one.
    const std::optional<std::filesystem::path> &path() const noexcept { return path_; }
    // The id of the snapshot or instance concerned, where there is one.
    const std::optional<std::string> &id() const noexcept { return id_; }
    // The error number of the operating system, or 0 where there is none.
    int system_error_number() const noexcept { return system_; }
    // All of it as JSON; "" for an error that this header makes, such as of a text with a NUL in it.
    const std::string &to_json() const noexcept { return json_; }
    // The HTTP status that a server would answer, such as 404.
    int http_status() const noexcept { return hypeman_status_http(status_); }

private:
    hypeman_status status_;
    std::string code_;
    std::optional<std::filesystem::path> path_;
    std::optional<std::string> id_;
    int system_ = 0;
    std::string json_;
};

namespace detail {

// A text for C, which would stop at a NUL inside it and so mean something else.
inline const char *text(const std::string &text) {
    if (text.find('\0') != std::string::npos) throw Error(HYPEMAN_STATUS_INVALID_REQUEST, "a text has a NUL in it");
    return text.c_str();
}
inline const char *text(const std::optional<std::string> &given) { return given ? text(*given) : nullptr; }
inline const char *text(const std::optional<std::filesystem::path> &given) {
    return given ? text(given->native()) : nullptr;
}

// A text of an object's; "" of one that was moved from.
inline std::string lent(const char *borrowed) { return borrowed ? borrowed : ""; }
inline std::optional<std::string> optional(const char *borrowed) {
    return borrowed ? std::optional<std::string>(borrowed) : std::nullopt;
}
inline std::optional<std::filesystem::path> optional_path(const char *borrowed) {
    return borrowed ? std::optional<std::filesystem::path>(borrowed) : std::nullopt;
}

inline std::string json(char *given) {
    const std::unique_ptr<char, decltype(&hypeman_string_free)> owned(given, hypeman_string_free);
    if (!given) throw Error(HYPEMAN_STATUS_NOT_SUPPORTED, "this cannot be written as JSON: a path is not UTF-8");
    return given;
}

template <typename Object, typename Value>
std::optional<Value> present(int32_t (*getter)(const Object *, Value *), const Object *object) {
    Value value{};
    return getter(object, &value) ? std::optional<Value>(value) : std::nullopt;
}

template <typename Object, typename Value>
std::optional<Value> present_at(int32_t (*getter)(const Object *, std::size_t, Value *), const Object *object,
                                std::size_t index) {
    Value value{};
    return getter(object, index, &value) ? std::optional<Value>(value) : std::nullopt;
}

// Makes a call that only succeeds or fails.
template <typename Function, typename... Arguments> void call(Function function, Arguments... arguments) {
    hypeman_error *error = nullptr;
    if (function(arguments..., &error) != HYPEMAN_STATUS_OK) throw Error::taken(error);
}

// Makes a call that hands out an object.
template <typename Object, typename Function, typename... Arguments>
std::shared_ptr<Object> made(void (*free)(Object *), Function function, Arguments... arguments) {
    Object *object = nullptr;
    call(function, arguments..., &object);
    return std::shared_ptr<Object>(object, free);
}

} // namespace detail

// The version of the library that runs; HYPEMAN_VERSION is that of the header.
inline std::string version() { return hypeman_version(); }

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

// Ends running calls, from any thread. Copies are the same token.
class Cancel {
public:
    Cancel() : raw_(hypeman_cancel_new(), hypeman_cancel_free) {}
    void request() const noexcept { hypeman_cancel_request(raw_.get()); }
    const hypeman_cancel *raw() const noexcept { return raw_.get(); }

private:
    std::shared_ptr<hypeman_cancel> raw_;
};

enum class Phase : std::int32_t {
    Preparing = HYPEMAN_PHASE_PREPARING,
    SavingMemory = HYPEMAN_PHASE_SAVING_MEMORY,
    CopyingDisks = HYPEMAN_PHASE_COPYING_DISKS,
    Syncing = HYPEMAN_PHASE_SYNCING,
    Compressing = HYPEMAN_PHASE_COMPRESSING,
    Verifying = HYPEMAN_PHASE_VERIFYING,
};

struct Progress {
    Phase phase;
    std::uint64_t bytes_done;
    std::uint64_t bytes_total; // 0 while unknown
};

// How one long call is watched and ended.
struct Call {
    std::optional<std::chrono::milliseconds> timeout; // zero is over at once
    std::optional<Cancel> cancel;
    // Hears how far the call has come, on the calling thread; false cancels. What it throws cancels, too, and is
    // thrown by the call.
    std::function<bool(const Progress &)> progress;
};

namespace detail {

// A call as C sees it. No exception may cross C: what the callback throws waits here.
struct RawCall {
    explicit RawCall(const Call &call) : listener(call.progress) {
        if (call.timeout) {
            const auto ms = call.timeout->count();
            raw.timeout_ms = ms > 0 ? static_cast<std::uint64_t>(ms) : HYPEMAN_TIMEOUT_AT_ONCE;
        }
        if (call.cancel) raw.cancel = call.cancel->raw();
        if (listener) {
            raw.progress = hear;
            raw.user = this;
        }
    }
    RawCall(const RawCall &) = delete;
    RawCall &operator=(const RawCall &) = delete;

    // Makes `what` with this call, and throws what the callback threw.
    template <typename What> auto run(What what) {
        try {
            return what(&raw);
        } catch (const Error &) {
            if (thrown) std::rethrow_exception(thrown);
            throw;
        }
    }

    static int hear(const hypeman_progress *progress, void *user) noexcept {
        auto *self = static_cast<RawCall *>(user);
        try {
            const Progress told{static_cast<Phase>(progress->phase), progress->bytes_done, progress->bytes_total};
            return self->listener(told) ? 0 : 1;
        } catch (...) {
            self->thrown = std::current_exception();
            return 1;
        }
    }

    hypeman_call_options raw = HYPEMAN_CALL_OPTIONS_INIT;
    const std::function<bool(const Progress &)> &listener;
    std::exception_ptr thrown;
};

} // namespace detail

enum class Kind : std::int32_t {
    Unknown = 0, // of a newer version: see Snapshot::kind_name
    Standby = HYPEMAN_KIND_STANDBY,
    Stopped = HYPEMAN_KIND_STOPPED,
};

// A snapshot: the 14 fields of the API.
class Snapshot {
public:
    explicit Snapshot(std::shared_ptr<const hypeman_snapshot> raw) : raw_(std::move(raw)) {}

    std::string id() const { return detail::lent(hypeman_snapshot_id(raw())); }
    std::string created_at() const { return detail::lent(hypeman_snapshot_created_at(raw())); }
    std::chrono::system_clock::time_point created_at_time() const {
        return std::chrono::system_clock::time_point(
            std::chrono::milliseconds(hypeman_snapshot_created_at_unix_ms(raw())));
    }
    Kind kind() const { return static_cast<Kind>(hypeman_snapshot_kind(raw())); }
    std::string kind_name() const { return detail::lent(hypeman_snapshot_kind_name(raw())); }
    std::uint64_t size_bytes() const { return hypeman_snapshot_size_bytes(raw()); }
    std::string source_hypervisor() const { return detail::lent(hypeman_snapshot_source_hypervisor(raw())); }
    std::string source_instance_id() const { return detail::lent(hypeman_snapshot_source_instance_id(raw())); }
    std::string source_instance_name() const { return detail::lent(hypeman_snapshot_source_instance_name(raw())); }
    std::optional<std::uint64_t> compressed_size_bytes() const {
        return detail::present(hypeman_snapshot_compressed_size_bytes, raw());
    }
    std::optional<Compression> compression() const { return Compression::from(hypeman_snapshot_compression(raw())); }
    std::optional<std::string> compression_error() const {
        return detail::optional(hypeman_snapshot_compression_error(raw()));
    }
    std::optional<std::string> compression_state() const {
        return detail::optional(hypeman_snapshot_compression_state(raw()));
    }
    std::optional<std::string> name() const { return detail::optional(hypeman_snapshot_name(raw())); }
    Tags tags() const {
        Tags tags;
        for (std::size_t i = 0; i < hypeman_snapshot_tag_count(raw()); i++)
            tags.emplace(hypeman_snapshot_tag_key(raw(), i), hypeman_snapshot_tag_value(raw(), i));
        return tags;
    }
    std::optional<std::uint64_t> uncompressed_size_bytes() const {
        return detail::present(hypeman_snapshot_uncompressed_size_bytes, raw());
    }
    std::string to_json() const { return detail::json(hypeman_snapshot_to_json(raw())); }

    const hypeman_snapshot *raw() const noexcept { return raw_.get(); }

private:
    std::shared_ptr<const hypeman_snapshot> raw_;
};

struct PayloadFile {
    std::string path; // beneath guest/
    std::uint64_t size_bytes;
    std::uint64_t allocated_bytes;
};

// A snapshot from inside: what the 14 fields cannot say.
class Inspection {
public:
    explicit Inspection(std::shared_ptr<const hypeman_inspection> raw) : raw_(std::move(raw)) {}

    Snapshot snapshot() const {
        return Snapshot(std::shared_ptr<const hypeman_snapshot>(raw_, hypeman_inspection_snapshot(raw())));
    }
    std::vector<PayloadFile> files() const {
        std::vector<PayloadFile> files;
        for (std::size_t i = 0; i < hypeman_inspection_file_count(raw()); i++)
            files.push_back({hypeman_inspection_file_path(raw(), i), hypeman_inspection_file_size_bytes(raw(), i),
                             hypeman_inspection_file_allocated_bytes(raw(), i)});
        return files;
    }
    std::uint64_t allocated_bytes() const { return hypeman_inspection_allocated_bytes(raw()); }
    std::optional<std::string> source_state() const {
        return detail::optional(hypeman_inspection_source_state(raw()));
    }
    std::optional<double> paused_ms() const { return detail::present(hypeman_inspection_paused_ms, raw()); }
    std::optional<double> saving_memory_ms() const {
        return detail::present(hypeman_inspection_saving_memory_ms, raw());
    }
    std::optional<double> copying_disks_ms() const {
        return detail::present(hypeman_inspection_copying_disks_ms, raw());
    }
    std::optional<std::string> hypervisor_version() const {
        return detail::optional(hypeman_inspection_hypervisor_version(raw()));
    }
    std::optional<std::string> memory_format() const {
        return detail::optional(hypeman_inspection_memory_format(raw()));
    }
    std::optional<std::string> memory_file() const { return detail::optional(hypeman_inspection_memory_file(raw())); }
    std::optional<std::string> state_format() const { return detail::optional(hypeman_inspection_state_format(raw())); }
    std::uint64_t generation() const { return hypeman_inspection_generation(raw()); }
    std::optional<std::string> libhypeman_version() const {
        return detail::optional(hypeman_inspection_libhypeman_version(raw()));
    }
    std::string to_json() const { return detail::json(hypeman_inspection_to_json(raw())); }

    const hypeman_inspection *raw() const noexcept { return raw_.get(); }

private:
    std::shared_ptr<const hypeman_inspection> raw_;
};

struct VerifiedFile {
    std::string path; // beneath the snapshot's directory
    std::uint64_t size_bytes;
    std::string status; // "good", "damaged" or "unchecked"
};

struct Defect {
    std::string path; // beneath the snapshot's directory
    std::string kind; // "missing", "extra", "size", "content", "frame" or "metadata"
    std::string message;
    std::optional<std::uint64_t> offset;
    std::optional<std::uint64_t> size_bytes;
};

// What was found when every byte of a snapshot was read.
class Verification {
public:
    explicit Verification(std::shared_ptr<const hypeman_verification> raw) : raw_(std::move(raw)) {}

    std::string snapshot_id() const { return detail::lent(hypeman_verification_snapshot_id(raw())); }
    bool is_good() const { return hypeman_verification_is_good(raw()) != 0; }
    std::vector<VerifiedFile> files() const {
        std::vector<VerifiedFile> files;
        for (std::size_t i = 0; i < hypeman_verification_file_count(raw()); i++)
            files.push_back({hypeman_verification_file_path(raw(), i),
                             hypeman_verification_file_size_bytes(raw(), i),
                             hypeman_verification_file_status(raw(), i)});
        return files;
    }
    std::vector<Defect> defects() const {
        std::vector<Defect> defects;
        for (std::size_t i = 0; i < hypeman_verification_defect_count(raw()); i++)
            defects.push_back({hypeman_verification_defect_path(raw(), i), hypeman_verification_defect_kind(raw(), i),
                               hypeman_verification_defect_message(raw(), i),
                               detail::present_at(hypeman_verification_defect_offset, raw(), i),
                               detail::present_at(hypeman_verification_defect_size_bytes, raw(), i)});
        return defects;
    }
    std::string to_json() const { return detail::json(hypeman_verification_to_json(raw())); }

    const hypeman_verification *raw() const noexcept { return raw_.get(); }

private:
    std::shared_ptr<const hypeman_verification> raw_;
};

enum class ExtentKind : std::int32_t {
    Data = HYPEMAN_EXTENT_KIND_DATA,
    Zero = HYPEMAN_EXTENT_KIND_ZERO,
    Hole = HYPEMAN_EXTENT_KIND_HOLE,
};

// A part of a memory image.
struct Extent {
    std::uint64_t offset;
    std::uint64_t size_bytes;
    ExtentKind kind;
};

// A range of guest-physical memory that lies in one piece in an image.
struct Range {
    std::uint64_t guest_address;
    std::uint64_t offset;
    std::uint64_t size_bytes;
};

// The guest memory of a snapshot, open until the last copy is gone. Until then the snapshot cannot be removed.
class Memory {
public:
    explicit Memory(std::shared_ptr<const hypeman_memory> raw) : raw_(std::move(raw)) {}

    std::string snapshot_id() const { return detail::lent(hypeman_memory_snapshot_id(raw())); }
    std::filesystem::path path() const { return detail::lent(hypeman_memory_path(raw())); }
    std::uint64_t size_bytes() const { return hypeman_memory_size_bytes(raw()); }
    // Fills `length` bytes from byte `offset` of the image; returns how many: fewer only where the image ends.
    std::size_t read(std::uint64_t offset, void *buffer, std::size_t length) const {
        std::size_t read = 0;
        detail::call(hypeman_memory_read, raw(), offset, buffer, length, &read);
        return read;
    }
    std::vector<Extent> extents() const {
        const auto all = detail::made(hypeman_extents_free, hypeman_memory_extents, raw());
        std::vector<Extent> extents;
        for (std::size_t i = 0; i < hypeman_extents_count(all.get()); i++) {
            const hypeman_extent *each = hypeman_extents_at(all.get(), i);
            extents.push_back({each->offset, each->size_bytes, static_cast<ExtentKind>(each->kind)});
        }
        return extents;
    }
    // Throws `not_supported` where the form of the file does not say it for certain.
    std::vector<Range> ranges() const {
        const auto all = detail::made(hypeman_ranges_free, hypeman_memory_ranges, raw());
        std::vector<Range> ranges;
        for (std::size_t i = 0; i < hypeman_ranges_count(all.get()); i++) {
            const hypeman_range *each = hypeman_ranges_at(all.get(), i);
            ranges.push_back({each->guest_address, each->offset, each->size_bytes});
        }
        return ranges;
    }

    const hypeman_memory *raw() const noexcept { return raw_.get(); }

private:
    std::shared_ptr<const hypeman_memory> raw_;
};

// What a pager has done so far. `fault_us[i]` counts faults that took less than 2^i microseconds, and no less than half
// of that; the last entry all longer ones.
struct PagerMetrics {
    std::uint64_t vms, vms_seen, vms_whole;
    std::uint64_t faults;
    std::uint64_t copied_bytes, zero_bytes, prefetched_bytes, filled_bytes;
    std::vector<std::uint64_t> fault_us;
    std::uint64_t errors;
    std::optional<std::string> last_error;
};

// Serves the memory of a snapshot to VMs that run already, until it is stopped, its data directory is closed, or the last
// copy is gone. It keeps the data directory open: VMs must not lose their memory because the Hypeman went out of scope.
class Pager {
public:
    explicit Pager(std::shared_ptr<const hypeman_pager> raw, std::shared_ptr<const hypeman_handle> handle = nullptr)
        : handle_(std::move(handle)), raw_(std::move(raw)) {}

    std::string snapshot_id() const { return detail::lent(hypeman_pager_snapshot_id(raw())); }
    // Where VMs connect.
    std::filesystem::path socket() const { return detail::lent(hypeman_pager_socket(raw())); }
    PagerMetrics metrics() const {
        const auto found = detail::made(hypeman_metrics_free, hypeman_pager_metrics, raw());
        const hypeman_metrics *raw = found.get();
        PagerMetrics metrics{hypeman_metrics_vms(raw),
                             hypeman_metrics_vms_seen(raw),
                             hypeman_metrics_vms_whole(raw),
                             hypeman_metrics_faults(raw),
                             hypeman_metrics_copied_bytes(raw),
                             hypeman_metrics_zero_bytes(raw),
                             hypeman_metrics_prefetched_bytes(raw),
                             hypeman_metrics_filled_bytes(raw),
                             {},
                             hypeman_metrics_errors(raw),
                             detail::optional(hypeman_metrics_last_error(raw))};
        for (std::size_t i = 0; i < 20; i++) metrics.fault_us.push_back(hypeman_metrics_fault_us(raw, i));
        return metrics;
    }
    // Until at least one VM has connected, and each that did is gone or has all of its memory.
    void wait(const Call &call = {}) const {
        detail::RawCall(call).run([&](const hypeman_call_options *watched) {
            detail::call(hypeman_pager_wait, raw(), watched);
            return true;
        });
    }
    // Twice is fine.
    void stop() const { detail::call(hypeman_pager_stop, raw()); }

    const hypeman_pager *raw() const noexcept { return raw_.get(); }

private:
    std::shared_ptr<const hypeman_handle> handle_; // goes after the pager
    std::shared_ptr<const hypeman_pager> raw_;
};

struct Disk {
    std::filesystem::path path;
    bool readonly = false;
};

// A VM, where it is and what it did when it was looked up.
class Instance {
public:
    explicit Instance(std::shared_ptr<const hypeman_instance> raw) : raw_(std::move(raw)) {}

    std::string id() const { return detail::lent(hypeman_instance_id(raw())); }
    std::string name() const { return detail::lent(hypeman_instance_name(raw())); }
    std::string hypervisor() const { return detail::lent(hypeman_instance_hypervisor(raw())); }
    std::string state() const { return detail::lent(hypeman_instance_state(raw())); }
    std::string origin() const { return detail::lent(hypeman_instance_origin(raw())); }
    std::string created_at() const { return detail::lent(hypeman_instance_created_at(raw())); }
    std::optional<std::filesystem::path> api_socket() const {
        return detail::optional_path(hypeman_instance_api_socket(raw()));
    }
    std::optional<std::filesystem::path> directory() const {
        return detail::optional_path(hypeman_instance_directory(raw()));
    }
    std::vector<Disk> disks() const {
        std::vector<Disk> disks;
        for (std::size_t i = 0; i < hypeman_instance_disk_count(raw()); i++)
            disks.push_back({hypeman_instance_disk_path(raw(), i), hypeman_instance_disk_readonly(raw(), i) != 0});
        return disks;
    }
    std::optional<Compression> compression() const { return Compression::from(hypeman_instance_compression(raw())); }
    // Which copy of its snapshot's memory it has, from 1: told by the restore or fork that gave it that.
    std::optional<std::uint64_t> generation() const { return detail::present(hypeman_instance_generation, raw()); }
    std::optional<std::filesystem::path> staging_directory() const {
        return detail::optional_path(hypeman_instance_staging_directory(raw()));
    }
    std::optional<std::filesystem::path> staging_directory_in_vmm() const {
        return detail::optional_path(hypeman_instance_staging_directory_in_vmm(raw()));
    }
    std::string to_json() const { return detail::json(hypeman_instance_to_json(raw())); }

    const hypeman_instance *raw() const noexcept { return raw_.get(); }

private:
    std::shared_ptr<const hypeman_instance> raw_;
};

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

// Snapshots, as made from an instance and restored onto it.
class InstanceSnapshots {
public:
    explicit InstanceSnapshots(std::shared_ptr<hypeman_handle> handle) : handle_(std::move(handle)) {}

    Snapshot create(const std::string &instance, const CreateOptions &given, const Call &call = {}) const {
        const std::vector<hypeman_tag> tags = detail::raw(given.tags);
        const detail::RawCompression compression(given.compression);
        hypeman_create_options options = HYPEMAN_CREATE_OPTIONS_INIT;
        options.kind = static_cast<std::int32_t>(given.kind);
        options.name = detail::text(given.name);
        options.tags = tags.empty() ? nullptr : tags.data();
        options.tag_count = tags.size();
        options.compression = compression.pointer;
        return detail::RawCall(call).run([&](const hypeman_call_options *watched) {
            options.call = watched;
            return Snapshot(detail::made(hypeman_snapshot_free, hypeman_snapshot_create, handle_.get(),
                                         detail::text(instance), &options));
        });
    }
    Instance restore(const std::string &snapshot_id, const std::string &instance, const RestoreOptions &given = {},
                     const Call &call = {}) const {
        detail::RawRestore restore(given);
        return detail::RawCall(call).run([&](const hypeman_call_options *watched) {
            restore.options.call = watched;
            return Instance(detail::made(hypeman_instance_free, hypeman_snapshot_restore, handle_.get(),
                                         detail::text(snapshot_id), detail::text(instance), &restore.options));
        });
    }

private:
    std::shared_ptr<hypeman_handle> handle_;
};

class Instances {
public:
    explicit Instances(std::shared_ptr<hypeman_handle> handle) : handle_(std::move(handle)) {}

    // "register" is a word of the language.
    Instance register_instance(const RegisterOptions &given) const {
        std::vector<hypeman_disk> disks;
        for (const Disk &disk : given.disks) disks.push_back({detail::text(disk.path.native()), disk.readonly, 0});
        const detail::RawCompression compression(given.compression);
        hypeman_register_options options = HYPEMAN_REGISTER_OPTIONS_INIT;
        options.name = detail::text(given.name);
        options.hypervisor = detail::text(given.hypervisor);
        options.id = detail::text(given.id);
        options.api_socket = detail::text(given.api_socket);
        options.directory = detail::text(given.directory);
        options.disks = disks.empty() ? nullptr : disks.data();
        options.disk_count = disks.size();
        options.compression = compression.pointer;
        options.staging_directory = detail::text(given.staging_directory);
        options.staging_directory_in_vmm = detail::text(given.staging_directory_in_vmm);
        options.exclusive_snapshots = given.exclusive_snapshots;
        return Instance(detail::made(hypeman_instance_free, hypeman_instance_register, handle_.get(), &options));
    }
    Instance get(const std::string &id) const {
        return Instance(
            detail::made(hypeman_instance_free, hypeman_instance_get, handle_.get(), detail::text(id)));
    }
    std::vector<Instance> list() const {
        const auto all = detail::made(hypeman_instances_free, hypeman_instance_list, handle_.get());
        std::vector<Instance> instances;
        for (std::size_t i = 0; i < hypeman_instances_count(all.get()); i++)
            instances.emplace_back(std::shared_ptr<const hypeman_instance>(all, hypeman_instances_at(all.get(), i)));
        return instances;
    }
    void unregister(const std::string &id) const {
        detail::call(hypeman_instance_unregister, handle_.get(), detail::text(id));
    }
    InstanceSnapshots snapshots() const { return InstanceSnapshots(handle_); }

private:
    std::shared_ptr<hypeman_handle> handle_;
};

class Snapshots {
public:
    explicit Snapshots(std::shared_ptr<hypeman_handle> handle) : handle_(std::move(handle)) {}

    std::vector<Snapshot> list(const ListOptions &given = {}) const {
        const std::vector<hypeman_tag> tags = detail::raw(given.tags);
        hypeman_list_options options = HYPEMAN_LIST_OPTIONS_INIT;
        if (given.kind) {
            // To C it would be no kind at all, and every snapshot match.
            if (*given.kind == Kind::Unknown) throw Error(HYPEMAN_STATUS_INVALID_REQUEST, "kind must be Standby or Stopped");
            options.kind = static_cast<std::int32_t>(*given.kind);
        }
        options.name = detail::text(given.name);
        options.source_instance_id = detail::text(given.source_instance_id);
        options.tags = tags.empty() ? nullptr : tags.data();
        options.tag_count = tags.size();
        const auto all = detail::made(hypeman_snapshots_free, hypeman_snapshot_list, handle_.get(), &options);
        std::vector<Snapshot> snapshots;
        for (std::size_t i = 0; i < hypeman_snapshots_count(all.get()); i++)
            snapshots.emplace_back(std::shared_ptr<const hypeman_snapshot>(all, hypeman_snapshots_at(all.get(), i)));
        return snapshots;
    }
    Snapshot get(const std::string &id) const {
        return Snapshot(
            detail::made(hypeman_snapshot_free, hypeman_snapshot_get, handle_.get(), detail::text(id)));
    }
    // "delete" is a word of the language.
    void remove(const std::string &id) const {
        detail::call(hypeman_snapshot_delete, handle_.get(), detail::text(id));
    }
    Snapshot wait(const std::string &id, const Call &call = {}) const {
        return detail::RawCall(call).run([&](const hypeman_call_options *watched) {
            return Snapshot(detail::made(hypeman_snapshot_free, hypeman_snapshot_wait, handle_.get(),
                                         detail::text(id), watched));
        });
    }
    Snapshot compress(const std::string &id, const std::optional<Compression> &given = std::nullopt) const {
        const detail::RawCompression compression(given);
        return Snapshot(detail::made(hypeman_snapshot_free, hypeman_snapshot_compress, handle_.get(),
                                     detail::text(id), compression.pointer));
    }
    Snapshot cancel_compression(const std::string &id) const {
        return Snapshot(detail::made(hypeman_snapshot_free, hypeman_snapshot_cancel_compression, handle_.get(),
                                     detail::text(id)));
    }
    // Makes a new instance of a snapshot, with files of its own.
    Instance fork(const std::string &id, const std::string &name, const ForkOptions &given = {},
                  const Call &call = {}) const {
        std::vector<hypeman_disk_place> disks;
        for (const auto &[from, to] : given.disks)
            disks.push_back({detail::text(from.native()), detail::text(to.native())});
        detail::RawRestore restore(given.restore);
        hypeman_fork_options options = HYPEMAN_FORK_OPTIONS_INIT;
        options.directory = detail::text(given.directory);
        options.disks = disks.empty() ? nullptr : disks.data();
        options.disk_count = disks.size();
        options.restore = &restore.options;
        return detail::RawCall(call).run([&](const hypeman_call_options *watched) {
            restore.options.call = watched;
            return Instance(detail::made(hypeman_instance_free, hypeman_snapshot_fork, handle_.get(),
                                         detail::text(id), detail::text(name), &options));
        });
    }
    Inspection inspect(const std::string &id) const {
        return Inspection(
            detail::made(hypeman_inspection_free, hypeman_snapshot_inspect, handle_.get(), detail::text(id)));
    }
    Verification verify(const std::string &id, const Call &call = {}) const {
        return detail::RawCall(call).run([&](const hypeman_call_options *watched) {
            return Verification(detail::made(hypeman_verification_free, hypeman_snapshot_verify, handle_.get(),
                                             detail::text(id), watched));
        });
    }
    Memory memory(const std::string &id) const {
        return Memory(detail::made(hypeman_memory_free, hypeman_snapshot_memory, handle_.get(), detail::text(id)));
    }
    Pager serve_memory(const std::string &id, const ServeOptions &given = {}) const {
        hypeman_serve_options options = HYPEMAN_SERVE_OPTIONS_INIT;
        options.socket = detail::text(given.socket);
        options.cache_bytes = given.cache_bytes ? std::max<std::uint64_t>(*given.cache_bytes, 1) : 0;
        options.cpus = given.cpus.empty() ? nullptr : given.cpus.data();
        options.cpu_count = given.cpus.size();
        if (given.spin_us) options.spin_us = *given.spin_us ? static_cast<std::int32_t>(std::min(*given.spin_us, 1001u)) : -1;
        options.no_prefetch = !given.prefetch;
        options.fill = given.fill;
        return Pager(detail::made(hypeman_pager_free, hypeman_snapshot_serve_memory, handle_.get(), detail::text(id),
                                  &options),
                     handle_);
    }

private:
    std::shared_ptr<hypeman_handle> handle_;
};

// An open data directory, closed with the last copy of it, of its Instances and Snapshots, and of the Pagers that it started.
class Hypeman {
public:
    // Opens $HYPEMAN_DATA_DIR, else /var/lib/hypeman, where no data directory is given.
    explicit Hypeman(const std::optional<std::filesystem::path> &data_dir = std::nullopt,
                     const OpenOptions &given = {}) {
        const detail::RawCompression compression(given.compression);
        hypeman_open_options options = HYPEMAN_OPEN_OPTIONS_INIT;
        options.read_only = given.read_only;
        options.allow_network_fs = given.allow_network_fs;
        options.owns_server_instances = given.owns_server_instances;
        options.threads = given.threads;
        options.compression = compression.pointer;
        options.durability = detail::text(given.durability);
        options.offload_memory = given.offload_memory;
        if (!given.log) {
            handle_ = detail::made(hypeman_close, hypeman_open, detail::text(data_dir), &options);
            return;
        }
        const auto log = std::make_shared<Log>(given.log);
        options.log = detail::log;
        options.log_user = log.get();
        auto handle = detail::made(hypeman_close, hypeman_open, detail::text(data_dir), &options);
        // The log outlives the handle, which a copy of this pointer keeps.
        handle_ = std::shared_ptr<hypeman_handle>(handle.get(), [log, handle](hypeman_handle *) mutable { handle.reset(); });
    }

    std::filesystem::path data_dir() const { return detail::lent(hypeman_data_dir(handle_.get())); }
    Instances instances() const { return Instances(handle_); }
    Snapshots snapshots() const { return Snapshots(handle_); }
    // Waits until what this does in the background has ended; for programs that are over soon.
    void finish(const Call &call = {}) const {
        detail::RawCall(call).run([&](const hypeman_call_options *watched) {
            detail::call(hypeman_finish, handle_.get(), watched);
        });
    }
    // Later calls, of any thread and any copy, throw `closed`. Twice is fine.
    void close() const noexcept { hypeman_shutdown(handle_.get()); }

private:
    std::shared_ptr<hypeman_handle> handle_;
};

} // namespace hypeman

#endif
