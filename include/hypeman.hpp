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

#include "hypeman/call.hpp"
#include "hypeman/error.hpp"
#include "hypeman/instance.hpp"
#include "hypeman/memory.hpp"
#include "hypeman/options.hpp"
#include "hypeman/snapshot.hpp"
#include "hypeman/values.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace hypeman {

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
