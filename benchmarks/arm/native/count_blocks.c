/* qemu plugin: counts how often each block of instructions runs between two markers.
 *
 * A marker is the system call getppid. Odd markers start a count. Even markers write "count", then one line per
 * executed block: "address times word word ...", the words being the instructions. For programs with one thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu_plugin.h"

enum { GETPPID = 173, SLOTS = 1 << 16 };

struct block {
    uint64_t address, size, count, before;
    struct block *next;
    uint32_t words[];
};

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;
static struct block *table[SLOTS];
static FILE *out;
static bool counting;

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *translated)
{
    size_t size = qemu_plugin_tb_n_insns(translated);
    uint64_t address = qemu_plugin_tb_vaddr(translated);
    struct block **slot = &table[(address >> 2) % SLOTS], *block = *slot;
    while (block && (block->address != address || block->size != size)) block = block->next;
    if (!block) {
        block = calloc(1, sizeof *block + sizeof(uint32_t) * size);
        if (!block) abort();
        *block = (struct block){.address = address, .size = size, .next = *slot};
        for (size_t i = 0; i < size; i++)
            memcpy(&block->words[i], qemu_plugin_insn_data(qemu_plugin_tb_get_insn(translated, i)), sizeof(uint32_t));
        *slot = block;
    }
    qemu_plugin_register_vcpu_tb_exec_inline(translated, QEMU_PLUGIN_INLINE_ADD_U64, &block->count, 1);
}

static void on_system_call(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                           uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    if (number != GETPPID) return;
    if (counting) fputs("count\n", out);
    for (int i = 0; i < SLOTS; i++)
        for (struct block *block = table[i]; block; block = block->next) {
            if (counting && block->count != block->before) {
                fprintf(out, "%" PRIx64 " %" PRIu64, block->address, block->count - block->before);
                for (size_t k = 0; k < block->size; k++) fprintf(out, " %08x", block->words[k]);
                fputc('\n', out);
            }
            block->before = block->count;
        }
    fflush(out);
    counting = !counting;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    if (argc != 1 || strncmp(argv[0], "out=", 4) || !(out = fopen(argv[0] + 4, "w"))) {
        fputs("count_blocks: expected out=FILE\n", stderr);
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_system_call);
    return 0;
}
