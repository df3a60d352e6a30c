/* nlxtp.h: upload to, watch and download from virtual machines and containers without a network.
 *
 * This file is made from the library's source; docs/c-api.md explains the conventions:
 *
 * - Functions that can fail return an nlxtp_result. Their last argument, which may be NULL, gets an
 *   error object then; the caller frees it. What other arguments point to is written only on
 *   success.
 * - Handles are made by a function and freed by the caller, with the function whose name ends in
 *   _free. NULL is a defined argument everywhere.
 * - Structures begin with their size, which the caller sets; zeros in their other fields mean "as
 *   usual".
 * - Text is UTF-8 and ends with NUL; paths are any bytes and end with NUL.
 */

#ifndef NLXTP_H
#define NLXTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * What a function came to: NLXTP_OK, or why it failed. The numbers are stable; later versions may
 * add some, so treat one that you do not know as NLXTP_ERROR_IO.
 */
enum nlxtp_result
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Success.
     */
    NLXTP_OK = 0,
    /**
     * An argument cannot be used: NULL where there must be something, a handle of another kind, a
     * value out of range.
     */
    NLXTP_ERROR_INVALID_INPUT = 1,
    /**
     * The archive is of no known format, truncated or corrupt.
     */
    NLXTP_ERROR_BAD_ARCHIVE = 2,
    /**
     * The archive holds entries that are not taken; see nlxtp_error_refusal_count().
     */
    NLXTP_ERROR_REFUSED = 3,
    /**
     * The content does not fit into the target.
     */
    NLXTP_ERROR_TOO_SMALL = 4,
    /**
     * The file, directory or entry is not there.
     */
    NLXTP_ERROR_NOT_FOUND = 5,
    /**
     * The target is neither a directory nor a usable disk.
     */
    NLXTP_ERROR_NOT_A_TARGET = 6,
    /**
     * The target's file system is damaged.
     */
    NLXTP_ERROR_DAMAGED = 7,
    /**
     * An upload was cut off when there was no way back any more. On a block device, or an image file that is
     * known by a descriptor, it must be repeated; in a directory the next operation goes on with it.
     */
    NLXTP_ERROR_UNFINISHED = 8,
    /**
     * The target was changing while it was read. Trying again may help.
     */
    NLXTP_ERROR_CHANGING = 9,
    /**
     * The file system is mounted read-only.
     */
    NLXTP_ERROR_READ_ONLY = 10,
    /**
     * The caller may not do this.
     */
    NLXTP_ERROR_PERMISSION_DENIED = 11,
    /**
     * Another process, or another thread with the same handle, holds the target. Trying again later
     * may help.
     */
    NLXTP_ERROR_IN_USE = 12,
    /**
     * The guest is on and the target can only be written while it is off.
     */
    NLXTP_ERROR_GUEST_ON = 13,
    /**
     * The storage is full.
     */
    NLXTP_ERROR_NO_SPACE = 14,
    /**
     * The time that was given is over.
     */
    NLXTP_ERROR_TIMED_OUT = 15,
    /**
     * The caller has cancelled the operation.
     */
    NLXTP_ERROR_CANCELLED = 16,
    /**
     * The upload stands, but the monitor could not be invoked; nlxtp_error_upload() tells what it did.
     */
    NLXTP_ERROR_INVOKE_FAILED = 17,
    /**
     * Any other failure of the operating system.
     */
    NLXTP_ERROR_IO = 18,
    /**
     * A fault in this library. Please report it. Do not use the handles of the call any more but to
     * free them.
     */
    NLXTP_ERROR_INTERNAL = 19,
    /**
     * There is something at a path where something new is to be made.
     */
    NLXTP_ERROR_EXISTS = 20,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum nlxtp_result nlxtp_result;
#else
typedef int32_t nlxtp_result;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What an operation is doing. Later versions may add phases.
 */
enum nlxtp_phase
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Something that this version of the header has no word for.
     */
    NLXTP_PHASE_OTHER = 0,
    /**
     * The archive is being validated; bytes of the archive as it lies on the disk.
     */
    NLXTP_PHASE_EXAMINING = 1,
    /**
     * The archive is being unpacked, and validated unless it was before; bytes of the archive as it lies
     * on the disk.
     */
    NLXTP_PHASE_EXTRACTING = 2,
    /**
     * An archive is being made; bytes of content. How many there are is known only when it is complete.
     */
    NLXTP_PHASE_PACKING = 3,
    /**
     * What was written is being flushed to the disk; nobody can say how far that is.
     */
    NLXTP_PHASE_FLUSHING = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum nlxtp_phase nlxtp_phase;
#else
typedef int32_t nlxtp_phase;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How the start script comes to be executed after an upload. Later versions may add ways.
 */
enum nlxtp_execution
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The archive holds no start script: nothing will be executed.
     */
    NLXTP_EXECUTION_NO_START_SCRIPT = 0,
    /**
     * The guest is off: when it boots.
     */
    NLXTP_EXECUTION_AT_BOOT = 1,
    /**
     * The host has invoked the monitor.
     */
    NLXTP_EXECUTION_INVOKED = 2,
    /**
     * The daemon in the guest will notice it.
     */
    NLXTP_EXECUTION_BY_DAEMON = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum nlxtp_execution nlxtp_execution;
#else
typedef int32_t nlxtp_execution;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The state of a run. Later versions may add states.
 */
enum nlxtp_state
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * No monitor has taken the run up.
     */
    NLXTP_STATE_NOT_STARTED = 0,
    /**
     * The start script runs, as far as can be told.
     */
    NLXTP_STATE_RUNNING = 1,
    /**
     * The start script has ended and its results are on the disk.
     */
    NLXTP_STATE_FINISHED = 2,
    /**
     * The monitor no longer reports: it was stopped or killed, or the guest was turned off.
     */
    NLXTP_STATE_MONITOR_STOPPED = 3,
    /**
     * The guest was booted anew before the start script had ended.
     */
    NLXTP_STATE_GUEST_REBOOTED = 4,
    /**
     * There is a status, but it cannot be read.
     */
    NLXTP_STATE_UNREADABLE = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum nlxtp_state nlxtp_state;
#else
typedef int32_t nlxtp_state;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * In whose words the status was written.
 */
enum nlxtp_dialect
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * No monitor has written anything.
     */
    NLXTP_DIALECT_NONE = 0,
    /**
     * nlXTP's status slots.
     */
    NLXTP_DIALECT_NLXTP = 1,
    /**
     * The files of ToMaTo's guest modules 0.3.
     */
    NLXTP_DIALECT_TOMATO = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum nlxtp_dialect nlxtp_dialect;
#else
typedef int32_t nlxtp_dialect;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What came of comparing a download with the digests that the guest wrote before it was done. Later
 * versions may add outcomes.
 */
enum nlxtp_verification
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The guest has written none, or its run is not done.
     */
    NLXTP_VERIFICATION_NO_DIGESTS = 0,
    /**
     * The archive holds exactly the files that the guest wrote down, with the contents that they had.
     */
    NLXTP_VERIFICATION_VERIFIED = 1,
    /**
     * It does not.
     */
    NLXTP_VERIFICATION_DIFFERS = 2,
    /**
     * What is in the place of the guest's digests cannot be used.
     */
    NLXTP_VERIFICATION_UNUSABLE = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum nlxtp_verification nlxtp_verification;
#else
typedef int32_t nlxtp_verification;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Whether a guest is on.
 */
enum nlxtp_power
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Nobody can say.
     */
    NLXTP_POWER_UNKNOWN = 0,
    /**
     * The guest runs, or may be about to.
     */
    NLXTP_POWER_ON = 1,
    /**
     * The guest is shut down and stays so for the length of the call.
     */
    NLXTP_POWER_OFF = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum nlxtp_power nlxtp_power;
#else
typedef int32_t nlxtp_power;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * One of the start script's outputs.
 */
enum nlxtp_output
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The standard output. Of ToMaTo's guest modules, both outputs together.
     */
    NLXTP_OUTPUT_STDOUT = 1,
    /**
     * The error output.
     */
    NLXTP_OUTPUT_STDERR = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum nlxtp_output nlxtp_output;
#else
typedef int32_t nlxtp_output;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The format of an archive that is made.
 */
enum nlxtp_format
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * What the path ends with (.tar, .tar.zst, .tzst); else, and without a path, tar.gz.
     */
    NLXTP_FORMAT_BY_NAME = 0,
    /**
     * tar.gz.
     */
    NLXTP_FORMAT_TAR_GZ = 1,
    /**
     * tar, not compressed.
     */
    NLXTP_FORMAT_TAR = 2,
    /**
     * tar.zst.
     */
    NLXTP_FORMAT_TAR_ZST = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum nlxtp_format nlxtp_format;
#else
typedef int32_t nlxtp_format;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Cancels operations from any thread.
 */
typedef struct nlxtp_cancel nlxtp_cancel;

/**
 * What has changed about one node. It never changes itself, and any thread may read it. It belongs to
 * the caller, who frees it with nlxtp_change_free(); what its functions return belongs to it.
 */
typedef struct nlxtp_change nlxtp_change;

/**
 * What a disk was like when it was opened: where its file system lies, and how much it holds. It never
 * changes, and any thread may read it; to see what changed since, open the disk again. It belongs to
 * the caller, who frees it with nlxtp_disk_free(); what its functions return belongs to it. The disk
 * itself is not held open.
 */
typedef struct nlxtp_disk nlxtp_disk;

/**
 * What a download took home. It never changes, and any thread may read it. It belongs to the
 * caller, who frees it with nlxtp_download_free(); what its functions return belongs to it.
 */
typedef struct nlxtp_download nlxtp_download;

/**
 * Why a call failed. It belongs to the caller, who frees it with nlxtp_error_free(); any thread may
 * read it. What its functions return belongs to it.
 */
typedef struct nlxtp_error nlxtp_error;

/**
 * A journal on the host: nodes that are opened with it append each upload, start, end and download to its
 * file, for `nlxtp journal show`, `verify` and `replay`. It belongs to the caller, who frees it with
 * nlxtp_journal_free(). Any number of nodes, threads and processes may use it at once.
 */
typedef struct nlxtp_journal nlxtp_journal;

/**
 * A virtual machine or container that is controlled through its shared directory. It belongs to
 * the caller, who frees it with nlxtp_node_free(). Any thread may use it, one at a time: a call
 * with a node that is in use, also from a callback, fails with NLXTP_ERROR_IN_USE.
 */
typedef struct nlxtp_node nlxtp_node;

/**
 * What a status query found. It never changes, and any thread may read it. It belongs to the
 * caller, who frees it with nlxtp_status_free(); what its functions return belongs to it.
 */
typedef struct nlxtp_status nlxtp_status;

/**
 * What an upload did. It never changes, and any thread may read it. It belongs to the caller, who
 * frees it with nlxtp_upload_free(); what its functions return belongs to it.
 */
typedef struct nlxtp_upload nlxtp_upload;

/**
 * Watches any number of nodes in one thread. It belongs to the caller, who frees it with
 * nlxtp_watcher_free(). Any thread may use it, one at a time: a call with a watcher that is in use
 * fails with NLXTP_ERROR_IN_USE, but for nlxtp_watcher_wake().
 */
typedef struct nlxtp_watcher nlxtp_watcher;

/**
 * What a new disk is to be. Fill it with zeros, which mean "as usual", then set `size` and what is
 * wanted. NULL in its place means: all as usual.
 */
typedef struct {
    /**
     * sizeof(nlxtp_disk_options).
     */
    size_t size;
    /**
     * Bytes of the whole disk, up to 2 TiB; 0 for 62 MiB.
     */
    uint64_t bytes;
    /**
     * The volume label, 1 to 11 characters of ASCII; NULL for "NLXTP".
     */
    const char *label;
} nlxtp_disk_options;

/**
 * How far an operation is. The library fills it.
 */
typedef struct {
    /**
     * Bytes of this structure, as the library knows it.
     */
    size_t size;
    /**
     * What is being done.
     */
    nlxtp_phase phase;
    /**
     * Bytes done so far in this phase; 0 where that is not known.
     */
    uint64_t done;
    /**
     * All of them; UINT64_MAX where that is not known.
     */
    uint64_t total;
} nlxtp_progress;

/**
 * Is told how far an operation is: when a phase begins, when it is complete, and at most some 20 times a
 * second between, in the thread of the call. Returns 0, or anything else to cancel the operation. It may
 * call functions of this library, but none with the handle that is being used.
 */
typedef int (*nlxtp_progress_fn)(void *user_data, const nlxtp_progress *progress);

/**
 * Deadline, cancellation and progress of one operation. Fill it with zeros, then set `size` and
 * what is wanted. NULL in its place means: no deadline, no cancellation, no reports.
 */
typedef struct {
    /**
     * sizeof(nlxtp_control).
     */
    size_t size;
    /**
     * Whether `timeout_ms` counts.
     */
    int has_timeout;
    /**
     * Milliseconds from now until the operation must be over; 0 only gets what is to be had without
     * waiting.
     */
    uint64_t timeout_ms;
    /**
     * Is told how far the operation is; may be NULL.
     */
    nlxtp_progress_fn progress;
    /**
     * What `progress` gets back.
     */
    void *user_data;
    /**
     * Cancels the operation from another thread; may be NULL.
     */
    const nlxtp_cancel *cancel;
} nlxtp_control;

/**
 * How a shared directory is packed. Fill it with zeros, which mean "as usual", then set `size` and what is
 * wanted. NULL in its place means: all as usual.
 */
typedef struct {
    /**
     * sizeof(nlxtp_download_options).
     */
    size_t size;
    /**
     * The archive's format, a number of nlxtp_format.
     */
    int32_t format;
    /**
     * How hard to compress: from 1, fastest, to 9 for tar.gz and to 22 for tar.zst; 0 for 6 and 3.
     */
    int32_t level;
    /**
     * How many threads compress; 0 for as many as there are cores, at most 8. The archive is the same.
     */
    uint32_t threads;
    /**
     * How often to pack, at most, until nothing changed meanwhile; 0 for once. More than once only where the
     * archive is at a path, and not a pipe there: what was written elsewhere cannot be taken back.
     */
    uint32_t attempts;
    /**
     * Not 0: replace an existing file, where the archive is at a path.
     */
    int replace;
} nlxtp_download_options;

/**
 * Where an archive is written to. Fill it with zeros, then set `size` and the callback. It is called
 * in the thread of the call; a failure is returned as a negative errno value, such as -ENOSPC.
 */
typedef struct {
    /**
     * sizeof(nlxtp_writer).
     */
    size_t size;
    /**
     * Takes at most `length` bytes, at least one, and returns how many.
     */
    int64_t (*write)(void *user_data, const void *bytes, size_t length);
    /**
     * What the callback gets back.
     */
    void *user_data;
} nlxtp_writer;

/**
 * What a journal is to keep. Fill it with zeros, which mean "as usual", then set `size` and what is
 * wanted. NULL in its place means: all as usual.
 */
typedef struct {
    /**
     * sizeof(nlxtp_journal_options).
     */
    size_t size;
    /**
     * Not 0: keep a copy of each uploaded archive in the folder of the journal's name with ".d", for a replay.
     */
    int keep_archives;
} nlxtp_journal_options;

/**
 * Tells whether the guest is on: one of nlxtp_power, or a negative errno value where that could not
 * be found out; the call that asked then fails. It is called in the thread of that call.
 */
typedef int (*nlxtp_power_fn)(void *user_data);

/**
 * Starts the monitor inside the running guest and need not wait for the run to end. Returns 0, or a
 * negative errno value; the upload then fails with NLXTP_ERROR_INVOKE_FAILED, and stands. It is
 * called in the thread of the upload.
 */
typedef int (*nlxtp_invoke_fn)(void *user_data);

/**
 * What is known of a node. Fill it with zeros, which mean "as usual", then set `size` and what is
 * wanted. NULL in its place means: all as usual.
 */
typedef struct {
    /**
     * sizeof(nlxtp_node_options).
     */
    size_t size;
    /**
     * Whether the guest is on, one of nlxtp_power, where `power_state` is NULL.
     */
    int32_t power;
    /**
     * Not 0: on a disk, which has no links, upload a copy of what a link in the archive leads to.
     */
    int follow_links;
    /**
     * Tells whether the guest is on; may be NULL.
     */
    nlxtp_power_fn power_state;
    /**
     * Starts the monitor in a running container; may be NULL: then its daemon has to notice.
     */
    nlxtp_invoke_fn invoke_monitor;
    /**
     * What the two callbacks get back. It must stay for as long as the node.
     */
    void *user_data;
    /**
     * Most files, directories and links in an archive or a shared directory; 0 for a million.
     */
    uint64_t max_entries;
    /**
     * Most bytes of all files together, unpacked; 0 for 64 GiB.
     */
    uint64_t max_bytes;
    /**
     * Milliseconds that the monitor may be silent beyond three of the intervals that it promised; 0
     * for 5000.
     */
    uint64_t grace_ms;
    /**
     * The same for ToMaTo's guest modules, which promise nothing; 0 for 600000.
     */
    uint64_t tomato_patience_ms;
    /**
     * What nlxtp_node_memory() gave for this node before; NULL where there is nothing.
     */
    const char *memory;
    /**
     * Where what is done with the node is recorded; NULL for nowhere. An upload or download fails before
     * anything is touched where the journal cannot be written to, and is not recorded where it fails itself.
     */
    const nlxtp_journal *journal;
    /**
     * The node's name in `journal`, by which a replay finds it: the same in every process, and no other
     * node's. Any bytes, one at least; it must be set if `journal` is.
     */
    const char *journal_name;
} nlxtp_node_options;

/**
 * Is shown each status that differs from the one before, in the thread of the call. The status is
 * the library's and is gone when the callback returns. Returns 0, or anything else to cancel the wait, if it is not over anyway.
 */
typedef int (*nlxtp_change_fn)(void *user_data, const nlxtp_status *status);

/**
 * Where an archive is read from. Fill it with zeros, then set `size` and both callbacks. They are
 * called in the thread of the call; a failure is returned as a negative errno value, such as -EIO.
 */
typedef struct {
    /**
     * sizeof(nlxtp_reader).
     */
    size_t size;
    /**
     * Puts at most `length` bytes into `buffer`, and returns how many; 0 at the end.
     */
    int64_t (*read)(void *user_data, void *buffer, size_t length);
    /**
     * Goes to a position as lseek() does, with `whence` 0 from the beginning, 1 from where it is, 2
     * from the end, and returns the new position from the beginning.
     */
    int64_t (*seek)(void *user_data, int64_t offset, int whence);
    /**
     * What the callbacks get back.
     */
    void *user_data;
} nlxtp_reader;

/**
 * How a watcher is to work. Fill it with zeros, which mean "as usual", then set `size` and what is
 * wanted. NULL in its place means: all as usual.
 */
typedef struct {
    /**
     * sizeof(nlxtp_watcher_options).
     */
    size_t size;
    /**
     * Milliseconds before which no node is asked again; 0 for 100, and never less than 10.
     */
    uint64_t shortest_ms;
    /**
     * Milliseconds after which a node that is quiet is asked again; 0 for 5000.
     */
    uint64_t longest_ms;
    /**
     * Most files of nodes that are kept open; 0 for half of what the process may open at this moment
     * (RLIMIT_NOFILE). A directory takes 4, a disk image 1; further nodes cost more to ask.
     */
    uint64_t open_files;
} nlxtp_watcher_options;

/**
 * Is shown a change, in the thread of the call. The change is the library's and is gone when the
 * callback returns. It may use the watcher and its nodes, but not free the watcher. Returns 0 to go
 * on, or anything else to end nlxtp_watcher_run() with NLXTP_OK.
 */
typedef int (*nlxtp_watch_fn)(void *user_data, const nlxtp_change *change);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Makes what cancels operations, to be freed with nlxtp_cancel_free().
 */
nlxtp_result nlxtp_cancel_new(nlxtp_cancel **cancel, nlxtp_error **error);

/**
 * Lets all operations that were given it end soon, with NLXTP_ERROR_CANCELLED, and all later ones
 * at once. May be called from any thread, but not from a signal handler. NULL is harmless.
 */
void nlxtp_cancel_now(const nlxtp_cancel *cancel);

/**
 * Frees it; operations that were given it go on. NULL is harmless.
 */
void nlxtp_cancel_free(nlxtp_cancel *cancel);

/**
 * Makes an empty disk for a virtual machine: a sparse file with an MBR, whose partition 1 begins at
 * 1 MiB and holds an empty FAT file system. Attach it to the guest as a raw disk. An existing file
 * is never overwritten. `options` may be NULL.
 */
nlxtp_result nlxtp_disk_create(const char *disk,
                               const nlxtp_disk_options *options,
                               nlxtp_error **error);

/**
 * Looks at a virtual machine's disk by its path: a raw image file or a block device, with a FAT file
 * system in partition 1 or as a whole. Nothing is written, and nothing is believed of what the guest
 * wrote. Its allocation table is read once, so a large disk takes a moment: `control`, which may be
 * NULL, can end that; its `progress` is not called. One to which an upload was cut off can be opened, too.
 * `disk` gets what was found, to be freed with nlxtp_disk_free().
 * NLXTP_ERROR_NOT_A_TARGET: it is no such disk.
 */
nlxtp_result nlxtp_disk_open(const char *target,
                             const nlxtp_control *control,
                             nlxtp_disk **disk,
                             nlxtp_error **error);

/**
 * The same by a descriptor of the image file or block device, which stays the caller's and may be
 * closed. It is opened anew through /proc/self/fd, with the rights of the process.
 */
nlxtp_result nlxtp_disk_open_fd(int target,
                                const nlxtp_control *control,
                                nlxtp_disk **disk,
                                nlxtp_error **error);

/**
 * Bytes of the whole disk; 0 for NULL.
 */
uint64_t nlxtp_disk_bytes(const nlxtp_disk *disk);

/**
 * Where partition 1 begins, in bytes from the beginning of the disk; 0 where the disk has no partition
 * table, and for NULL.
 */
uint64_t nlxtp_disk_partition_offset(const nlxtp_disk *disk);

/**
 * Bytes of partition 1; 0 where the disk has no partition table, and for NULL.
 */
uint64_t nlxtp_disk_partition_bytes(const nlxtp_disk *disk);

/**
 * Whether an upload to the disk was cut off, or was under way: it had no file system then, and another
 * upload gives it one. False for NULL.
 */
bool nlxtp_disk_unfinished(const nlxtp_disk *disk);

/**
 * The kind of FAT: 12, 16 or 32; 0 where there was no file system, and for NULL.
 */
uint32_t nlxtp_disk_fat_bits(const nlxtp_disk *disk);

/**
 * Bytes of a cluster, of which each file takes whole ones; 0 where there was no file system, and for
 * NULL.
 */
uint32_t nlxtp_disk_cluster_bytes(const nlxtp_disk *disk);

/**
 * The volume label, escaped for showing; NULL where there was none, and for NULL.
 */
const char *nlxtp_disk_label(const nlxtp_disk *disk);

/**
 * The serial number of the volume; 0 where there was none, and for NULL.
 */
uint32_t nlxtp_disk_serial(const nlxtp_disk *disk);

/**
 * Bytes that files and directories can take, in whole clusters; 0 where there was no file system, and
 * for NULL.
 */
uint64_t nlxtp_disk_capacity_bytes(const nlxtp_disk *disk);

/**
 * Bytes of those that were free; 0 where there was no file system, and for NULL. An upload replaces
 * everything, so it can take all of nlxtp_disk_capacity_bytes().
 */
uint64_t nlxtp_disk_free_bytes(const nlxtp_disk *disk);

/**
 * All of it as a JSON object on one line, UTF-8. NULL for NULL.
 */
const char *nlxtp_disk_json(const nlxtp_disk *disk);

/**
 * Frees what was found of a disk, which itself stays as it is. NULL is harmless.
 */
void nlxtp_disk_free(nlxtp_disk *disk);

/**
 * Packs the whole shared directory into an archive at a path, which stands for it only when it is
 * complete. An existing file is only replaced if `options` say so. `options`, `control` and `report` may be
 * NULL; what `report` gets is freed with nlxtp_download_free(). NLXTP_ERROR_CHANGING: the guest changed a
 * disk meanwhile, in each attempt. With several attempts, `done` of the progress begins anew with each.
 */
nlxtp_result nlxtp_node_download(const nlxtp_node *node,
                                 const char *archive,
                                 const nlxtp_download_options *options,
                                 const nlxtp_control *control,
                                 nlxtp_download **report,
                                 nlxtp_error **error);

/**
 * The same, written to an open descriptor from its position on. It stays open and is not flushed;
 * after a failure, what was written is of no use.
 */
nlxtp_result nlxtp_node_download_fd(const nlxtp_node *node,
                                    int archive,
                                    const nlxtp_download_options *options,
                                    const nlxtp_control *control,
                                    nlxtp_download **report,
                                    nlxtp_error **error);

/**
 * The same, written by a callback.
 */
nlxtp_result nlxtp_node_download_writer(const nlxtp_node *node,
                                        const nlxtp_writer *archive,
                                        const nlxtp_download_options *options,
                                        const nlxtp_control *control,
                                        nlxtp_download **report,
                                        nlxtp_error **error);

/**
 * The number of the error, which is what the function returned; NLXTP_OK for NULL.
 */
nlxtp_result nlxtp_error_code(const nlxtp_error *error);

/**
 * A stable word for the kind of failure, such as "bad-archive"; NULL for NULL.
 */
const char *nlxtp_error_kind(const nlxtp_error *error);

/**
 * The operation that failed: a function's name without its prefix, such as "node_upload"; NULL for
 * NULL.
 */
const char *nlxtp_error_operation(const nlxtp_error *error);

/**
 * All that is known in words, UTF-8: the object, what is wrong, and the way out. It may have several
 * lines. NULL for NULL.
 */
const char *nlxtp_error_text(const nlxtp_error *error);

/**
 * What is wrong, in one line without the object and the way out; NULL for NULL.
 */
const char *nlxtp_error_message(const nlxtp_error *error);

/**
 * The file, directory or archive entry that it is about, escaped for showing; NULL where there is
 * none, and for NULL.
 */
const char *nlxtp_error_path(const nlxtp_error *error);

/**
 * The way out; NULL where none is known, and for NULL.
 */
const char *nlxtp_error_hint(const nlxtp_error *error);

/**
 * Whether the same call may succeed if it is made again; false for NULL.
 */
bool nlxtp_error_may_retry(const nlxtp_error *error);

/**
 * For NLXTP_ERROR_REFUSED: how many entries of the archive are not taken; 0 for other failures, and for
 * NULL. The first 1000 can be asked for one by one.
 */
uint64_t nlxtp_error_refusal_count(const nlxtp_error *error);

/**
 * The name of a refused entry, escaped for showing; NULL if there are fewer, and for NULL.
 */
const char *nlxtp_error_refusal_entry(const nlxtp_error *error, size_t index);

/**
 * Why that entry is refused; NULL if there are fewer, and for NULL.
 */
const char *nlxtp_error_refusal_reason(const nlxtp_error *error, size_t index);

/**
 * For NLXTP_ERROR_INVOKE_FAILED: what the upload did, which stands; its execution is
 * NLXTP_EXECUTION_BY_DAEMON, the only way that is left besides a reboot. NULL for other failures, and for
 * NULL. It belongs to the error and goes with it: do not free it.
 */
const nlxtp_upload *nlxtp_error_upload(const nlxtp_error *error);

/**
 * Frees an error. NULL is harmless.
 */
void nlxtp_error_free(nlxtp_error *error);

/**
 * Opens the journal in this file, which is made where there is none; it is open only while a line is
 * written. `options` may be NULL. `journal` gets the journal, to be freed with nlxtp_journal_free().
 * NLXTP_ERROR_INVALID_INPUT: the file holds anything but a journal.
 */
nlxtp_result nlxtp_journal_open(const char *file,
                                const nlxtp_journal_options *options,
                                nlxtp_journal **journal,
                                nlxtp_error **error);

/**
 * Frees a journal; nodes that were opened with it go on recording. NULL is harmless.
 */
void nlxtp_journal_free(nlxtp_journal *journal);

/**
 * The library's version, such as "0.1.0".
 */
const char *nlxtp_version(void);

/**
 * Frees a string that a function gave to the caller. NULL is harmless.
 */
void nlxtp_string_free(char *text);

/**
 * Opens a node by the path of its shared directory: a directory is a container's, a file or block
 * device a virtual machine's disk (raw, with a FAT file system in partition 1 or as a whole).
 * `options` may be NULL. `node` gets the node, to be freed with nlxtp_node_free().
 */
nlxtp_result nlxtp_node_open(const char *target,
                             const nlxtp_node_options *options,
                             nlxtp_node **node,
                             nlxtp_error **error);

/**
 * The same by a descriptor of the directory, disk image or block device, wherever its name leads
 * meanwhile. The library takes a duplicate: the descriptor stays the caller's and may be closed. Each
 * operation opens it anew through /proc/self/fd, with the rights of the process, so how it was opened
 * does not matter. Nothing can take the place of what a descriptor leads to: an upload writes an image
 * file like a block device, so one that is cut off leaves NLXTP_ERROR_UNFINISHED.
 */
nlxtp_result nlxtp_node_open_fd(int target,
                                const nlxtp_node_options *options,
                                nlxtp_node **node,
                                nlxtp_error **error);

/**
 * Frees a node. It must not be in use; one that is watched stays watched. NULL is harmless.
 */
void nlxtp_node_free(nlxtp_node *node);

/**
 * What must be remembered for the next query, should that come from another process: a small JSON
 * value, UTF-8, for `memory` in nlxtp_node_options. `memory` gets NULL where there is nothing to
 * remember, and else a string to be freed with nlxtp_string_free().
 */
nlxtp_result nlxtp_node_memory(const nlxtp_node *node, char **memory, nlxtp_error **error);

/**
 * Tells why something that was done with the node since this was asked last is not in its journal.
 * `failure` gets NULL where all of it is, or there is no journal, and else an error object, to be freed with
 * nlxtp_error_free(). What was done stands.
 */
nlxtp_result nlxtp_node_journal_failure(const nlxtp_node *node,
                                        nlxtp_error **failure,
                                        nlxtp_error **error);

/**
 * Tells how far the run has come. A status that is just being written is read again, for at most a
 * second; one that cannot be read is no error but NLXTP_STATE_UNREADABLE. `status` gets what was
 * found, to be freed with nlxtp_status_free().
 */
nlxtp_result nlxtp_node_status(const nlxtp_node *node, nlxtp_status **status, nlxtp_error **error);

/**
 * Queries the status until the run has ended one way or another: NLXTP_STATE_FINISHED,
 * NLXTP_STATE_MONITOR_STOPPED or NLXTP_STATE_GUEST_REBOOTED. `control`, which may be NULL, says how
 * long; its `progress` is not called. `on_change` may be NULL. NLXTP_ERROR_CHANGING: another upload
 * has begun a new run.
 */
nlxtp_result nlxtp_node_wait(const nlxtp_node *node,
                             const nlxtp_control *control,
                             nlxtp_change_fn on_change,
                             void *user_data,
                             nlxtp_status **status,
                             nlxtp_error **error);

/**
 * Reads from one of the start script's outputs (a number of nlxtp_output), from `offset` on, and
 * never more than the status says to be on the disk. `length_read` gets how many bytes; 0 where
 * there are no more yet. The rest of the buffer is of no meaning afterwards, and all of it after a
 * failure.
 */
nlxtp_result nlxtp_node_read_output(const nlxtp_node *node,
                                    const nlxtp_status *status,
                                    int32_t output,
                                    uint64_t offset,
                                    void *bytes,
                                    size_t length,
                                    size_t *length_read,
                                    nlxtp_error **error);

/**
 * The run that the upload began, 32 hexadecimal digits; NULL for NULL.
 */
const char *nlxtp_upload_run_id(const nlxtp_upload *upload);

/**
 * Files, directories and links made; 0 for NULL.
 */
uint64_t nlxtp_upload_entries(const nlxtp_upload *upload);

/**
 * Bytes of all files together; 0 for NULL.
 */
uint64_t nlxtp_upload_bytes(const nlxtp_upload *upload);

/**
 * The start script's name, escaped for showing; NULL where there is none, and for NULL.
 */
const char *nlxtp_upload_start_script(const nlxtp_upload *upload);

/**
 * How the start script comes to be executed; NLXTP_EXECUTION_NO_START_SCRIPT for NULL.
 */
nlxtp_execution nlxtp_upload_execution(const nlxtp_upload *upload);

/**
 * How many entries of the archive were left out because their names belong to the protocol; 0 for NULL. The
 * first 1000 can be asked for one by one.
 */
uint64_t nlxtp_upload_left_out(const nlxtp_upload *upload);

/**
 * The name of such an entry, escaped for showing; NULL if there are fewer, and for NULL.
 */
const char *nlxtp_upload_left_out_entry(const nlxtp_upload *upload, size_t index);

/**
 * How many entries lose their mode: on FAT all but 0755, elsewhere the set-user-id, set-group-id and sticky
 * bits; 0 for NULL.
 */
uint64_t nlxtp_upload_lost_modes(const nlxtp_upload *upload);

/**
 * How many entries belong to another user or group than root in the archive, which they lose: everything is
 * given the owner of the shared directory; 0 for NULL.
 */
uint64_t nlxtp_upload_lost_owners(const nlxtp_upload *upload);

/**
 * How many warnings there are of what may keep the start script from running as it was meant; 0 for NULL.
 */
size_t nlxtp_upload_warning_count(const nlxtp_upload *upload);

/**
 * One of them, for people, UTF-8; NULL if there are fewer, and for NULL.
 */
const char *nlxtp_upload_warning(const nlxtp_upload *upload, size_t index);

/**
 * The whole report as a JSON object on one line, UTF-8: the same as `nlxtp upload --json` prints. NULL for
 * NULL.
 */
const char *nlxtp_upload_json(const nlxtp_upload *upload);

/**
 * Frees an upload's report. NULL is harmless.
 */
void nlxtp_upload_free(nlxtp_upload *upload);

/**
 * Files in the archive; 0 for NULL.
 */
uint64_t nlxtp_download_files(const nlxtp_download *download);

/**
 * Directories in the archive, the shared directory itself not counted; 0 for NULL.
 */
uint64_t nlxtp_download_directories(const nlxtp_download *download);

/**
 * Symbolic links in the archive; 0 for NULL.
 */
uint64_t nlxtp_download_symlinks(const nlxtp_download *download);

/**
 * Bytes of all files together; 0 for NULL.
 */
uint64_t nlxtp_download_bytes(const nlxtp_download *download);

/**
 * Bytes of the archive; 0 for NULL.
 */
uint64_t nlxtp_download_archive_bytes(const nlxtp_download *download);

/**
 * How many files changed while they were read, or could not be read whole: their content in the
 * archive is not what the guest wrote; 0 for NULL. The first 1000 can be asked for one by one.
 */
uint64_t nlxtp_download_changed(const nlxtp_download *download);

/**
 * The path of such a file, escaped for showing; NULL if there are fewer, and for NULL.
 */
const char *nlxtp_download_changed_path(const nlxtp_download *download, size_t index);

/**
 * What is wrong with its content in the archive; NULL if there are fewer, and for NULL.
 */
const char *nlxtp_download_changed_problem(const nlxtp_download *download, size_t index);

/**
 * How many entries the archive lacks: devices, FIFOs, what vanished; 0 for NULL. The first 1000 can be asked
 * for one by one.
 */
uint64_t nlxtp_download_left_out(const nlxtp_download *download);

/**
 * The path of such an entry, escaped for showing; NULL if there are fewer, and for NULL.
 */
const char *nlxtp_download_left_out_path(const nlxtp_download *download, size_t index);

/**
 * Why it was left out; NULL if there are fewer, and for NULL.
 */
const char *nlxtp_download_left_out_reason(const nlxtp_download *download, size_t index);

/**
 * How often the shared directory was packed, the last time into this archive; 0 for NULL.
 */
uint32_t nlxtp_download_attempts(const nlxtp_download *download);

/**
 * Whether nothing is known to have changed or vanished while it was packed; false for NULL.
 */
bool nlxtp_download_settled(const nlxtp_download *download);

/**
 * The whole report as a JSON object on one line, UTF-8. NULL for NULL.
 */
const char *nlxtp_download_json(const nlxtp_download *download);

/**
 * Frees a download's report. NULL is harmless.
 */
void nlxtp_download_free(nlxtp_download *download);

/**
 * The state of the run; NLXTP_STATE_UNREADABLE for NULL.
 */
nlxtp_state nlxtp_status_state(const nlxtp_status *status);

/**
 * The word for the state, such as "monitor-stopped"; NULL for NULL.
 */
const char *nlxtp_status_state_word(const nlxtp_status *status);

/**
 * The Done Flag: whether the start script has ended and its results are on the disk; false for NULL.
 */
bool nlxtp_status_done(const nlxtp_status *status);

/**
 * Whether the run is under way; false for NULL.
 */
bool nlxtp_status_running(const nlxtp_status *status);

/**
 * Why the state is what it is, for people, UTF-8; NULL where that needs no words, and for NULL.
 */
const char *nlxtp_status_reason(const nlxtp_status *status);

/**
 * The Custom Status: any bytes, not ended by NUL; NULL where none was set, and for NULL. Else the pointer is
 * not NULL, also if it is empty. `length`, which may be NULL, gets how many bytes; it is left alone for NULL.
 */
const void *nlxtp_status_custom(const nlxtp_status *status,
                                size_t *length);

/**
 * Steps that the start script says it has done, at most nlxtp_status_progress_total(); 0 where it says
 * nothing of that, and for NULL.
 */
uint64_t nlxtp_status_progress_done(const nlxtp_status *status);

/**
 * Steps that the start script says there are in all, at least 1; 0 where it says nothing of that, and for
 * NULL.
 */
uint64_t nlxtp_status_progress_total(const nlxtp_status *status);

/**
 * The start script's exit code, 0 to 255; -1 if it has not ended by itself, and for NULL.
 */
int nlxtp_status_exit_code(const nlxtp_status *status);

/**
 * The signal that ended the start script, 1 to 64; 0 if none did, and for NULL.
 */
int nlxtp_status_signal(const nlxtp_status *status);

/**
 * Whether the monitor has ended the script because it ran longer than it was allowed to; false for NULL.
 */
bool nlxtp_status_timed_out(const nlxtp_status *status);

/**
 * The sequence number of the record, from 1; 0 where there is none, and for NULL.
 */
uint64_t nlxtp_status_sequence(const nlxtp_status *status);

/**
 * The run that the last upload began, 32 hexadecimal digits; NULL where it is not known, and for NULL.
 */
const char *nlxtp_status_run_id(const nlxtp_status *status);

/**
 * Bytes of standard output that are on the disk; UINT64_MAX where that is not known, and for NULL.
 */
uint64_t nlxtp_status_stdout_bytes(const nlxtp_status *status);

/**
 * Bytes of error output that are on the disk; UINT64_MAX where that is not known, and for NULL.
 */
uint64_t nlxtp_status_stderr_bytes(const nlxtp_status *status);

/**
 * Whether the monitor has cut the standard output, which was too long; false for NULL.
 */
bool nlxtp_status_stdout_truncated(const nlxtp_status *status);

/**
 * Whether the monitor has cut the error output, which was too long; false for NULL.
 */
bool nlxtp_status_stderr_truncated(const nlxtp_status *status);

/**
 * Whether the monitor has cut the Custom Status, which was too long; false for NULL.
 */
bool nlxtp_status_custom_truncated(const nlxtp_status *status);

/**
 * In whose words the status was written; NLXTP_DIALECT_NONE for NULL.
 */
nlxtp_dialect nlxtp_status_dialect(const nlxtp_status *status);

/**
 * How often the status was read until it could be used, or was given up; 0 for NULL.
 */
uint32_t nlxtp_status_attempts(const nlxtp_status *status);

/**
 * The whole status as a JSON object on one line, UTF-8: the same as `nlxtp status --json` prints.
 * NULL for NULL.
 */
const char *nlxtp_status_json(const nlxtp_status *status);

/**
 * Frees a status. NULL is harmless.
 */
void nlxtp_status_free(nlxtp_status *status);

/**
 * Replaces the shared directory's content by that of the archive at a path (tar, tar.gz, tar.zst or
 * zip), and has its start script executed. On failure the old content stands, but for
 * NLXTP_ERROR_INVOKE_FAILED (the new content stands), for a block device or descriptor whose writing was cut
 * off (NLXTP_ERROR_UNFINISHED from then on, until an upload succeeds), and for NLXTP_ERROR_UNFINISHED of a
 * directory (the next operation puts the new content in its place). `control` and `report` may be NULL; what
 * `report` gets is freed with nlxtp_upload_free().
 */
nlxtp_result nlxtp_node_upload(const nlxtp_node *node,
                               const char *archive,
                               const nlxtp_control *control,
                               nlxtp_upload **report,
                               nlxtp_error **error);

/**
 * The same with an archive that is open already: a file, which is read from its beginning whatever
 * its position, or a pipe, which is first copied to a temporary file. The descriptor stays open,
 * and its position is of no meaning afterwards.
 */
nlxtp_result nlxtp_node_upload_fd(const nlxtp_node *node,
                                  int archive,
                                  const nlxtp_control *control,
                                  nlxtp_upload **report,
                                  nlxtp_error **error);

/**
 * The same with an archive that callbacks read.
 */
nlxtp_result nlxtp_node_upload_reader(const nlxtp_node *node,
                                      const nlxtp_reader *archive,
                                      const nlxtp_control *control,
                                      nlxtp_upload **report,
                                      nlxtp_error **error);

/**
 * Whether the archive holds what the guest had written when it was done; NLXTP_VERIFICATION_NO_DIGESTS for
 * NULL.
 */
nlxtp_verification nlxtp_download_verification(const nlxtp_download *download);

/**
 * Why the guest's digests cannot be used, for people; NULL if they can, and for NULL.
 */
const char *nlxtp_download_verification_reason(const nlxtp_download *download);

/**
 * How many files differ from the guest's digests: have another content, are missing in the archive, or are
 * new; 0 for NULL. The first 1000 of each kind can be asked for one by one.
 */
uint64_t nlxtp_download_differences(const nlxtp_download *download);

/**
 * The path of such a file, escaped for showing; NULL if there are fewer, and for NULL.
 */
const char *nlxtp_download_difference_path(const nlxtp_download *download, size_t index);

/**
 * How it differs, for people; NULL if there are fewer, and for NULL.
 */
const char *nlxtp_download_difference_problem(const nlxtp_download *download, size_t index);

/**
 * Makes what watches nodes, to be freed with nlxtp_watcher_free(). `options` may be NULL.
 */
nlxtp_result nlxtp_watcher_new(const nlxtp_watcher_options *options,
                               nlxtp_watcher **watcher,
                               nlxtp_error **error);

/**
 * Begins to watch a node, whose first status is told soon. `user_data` is what its changes carry.
 * `id`, which may be NULL, gets a number from 1 that no other node of this watcher ever has.
 *
 * The node stays the caller's. Its handle can be used as before whenever no call with the watcher is
 * under way (else: NLXTP_ERROR_IN_USE), so also in the callback of nlxtp_watcher_run(). It may be
 * freed: the node is watched on, and goes when it is removed. A node can be watched by one watcher.
 */
nlxtp_result nlxtp_watcher_add(const nlxtp_watcher *watcher,
                               const nlxtp_node *node,
                               void *user_data,
                               uint64_t *id,
                               nlxtp_error **error);

/**
 * Watches a node no longer. Its handle stays as it is, for the caller to use and to free. Fails with
 * NLXTP_ERROR_NOT_FOUND where no node of this number is watched.
 */
nlxtp_result nlxtp_watcher_remove(const nlxtp_watcher *watcher,
                                  uint64_t id,
                                  nlxtp_error **error);

/**
 * How many nodes are watched; 0 for NULL, and for a watcher that is in use by another call.
 */
size_t nlxtp_watcher_count(const nlxtp_watcher *watcher);

/**
 * Waits for the next change of any node, asking them in turn. `control`, which may be NULL, says how
 * long; its `progress` is not called. A time of 0 asks whoever is due, without waiting.
 *
 * `change` gets what has changed, to be freed with nlxtp_change_free(), or NULL where nobody is
 * watched or nlxtp_watcher_wake() was called. What fails about a node is told as its change, once; the
 * node is asked again like any other. A run that has ended is still watched, for another may begin. A
 * heartbeat alone is no change. After NLXTP_ERROR_TIMED_OUT and NLXTP_ERROR_CANCELLED, call again to
 * go on.
 */
nlxtp_result nlxtp_watcher_next(const nlxtp_watcher *watcher,
                                const nlxtp_control *control,
                                nlxtp_change **change,
                                nlxtp_error **error);

/**
 * Shows a callback one change after the other, as nlxtp_watcher_next() finds them, until the callback
 * says so, nobody is watched, or nlxtp_watcher_wake() is called: NLXTP_OK. Else it ends as
 * nlxtp_watcher_next() fails; the time in `control` is for all of it.
 */
nlxtp_result nlxtp_watcher_run(const nlxtp_watcher *watcher,
                               const nlxtp_control *control,
                               nlxtp_watch_fn on_change,
                               void *user_data,
                               nlxtp_error **error);

/**
 * Lets the nlxtp_watcher_next() or nlxtp_watcher_run() that is under way return soon, with NLXTP_OK
 * and without a change; or else the next one. It is how another thread gets to use the watcher: it
 * says somewhere what it wants, and wakes the thread that watches. May be called from any thread, but
 * not from a signal handler. NULL is harmless.
 */
void nlxtp_watcher_wake(const nlxtp_watcher *watcher);

/**
 * Frees a watcher, and the nodes whose handles were freed before; all others are watched no longer.
 * Neither it nor its nodes may be in use. NULL is harmless.
 */
void nlxtp_watcher_free(nlxtp_watcher *watcher);

/**
 * The number of the node, as nlxtp_watcher_add() gave it; 0 for NULL.
 */
uint64_t nlxtp_change_node(const nlxtp_change *change);

/**
 * What nlxtp_watcher_add() was given with the node; NULL for NULL.
 */
void *nlxtp_change_user_data(const nlxtp_change *change);

/**
 * The node's status now; NULL where it cannot be asked, and for NULL.
 */
const nlxtp_status *nlxtp_change_status(const nlxtp_change *change);

/**
 * Why the node cannot be asked; NULL where it can, and for NULL.
 */
const nlxtp_error *nlxtp_change_error(const nlxtp_change *change);

/**
 * Frees a change. NULL is harmless.
 */
void nlxtp_change_free(nlxtp_change *change);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* NLXTP_H */
