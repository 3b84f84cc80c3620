// SPDX-License-Identifier: Apache-2.0
//
// Virtual machines. A part of hypeman.hpp: include that.
#ifndef HYPEMAN_INSTANCE_HPP
#define HYPEMAN_INSTANCE_HPP

#include "values.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace hypeman {

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

} // namespace hypeman

#endif
