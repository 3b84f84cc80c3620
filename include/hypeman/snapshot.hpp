// SPDX-License-Identifier: Apache-2.0
//
// Snapshots, and what is known of them. A part of hypeman.hpp: include that.
#ifndef HYPEMAN_SNAPSHOT_HPP
#define HYPEMAN_SNAPSHOT_HPP

#include "values.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace hypeman {

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

} // namespace hypeman

#endif
