/* Holds sog_robot.h to ../vectors.json: every packet opens to its fields and seals to the same
 * bytes, every bad one is dropped for the right reason, COBS gives and takes the same bytes; and
 * damaged packets by the hundred thousand do no harm.
 *
 *     cc -std=c99 -g -fsanitize=address,undefined -o test_sog_robot test_sog_robot.c
 *     ./test_sog_robot ../vectors.json
 *
 * The file holds one vector a line, which is all the JSON that is understood here.
 */
#define SOG_ROBOT_IMPLEMENTATION
#include "sog_robot.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROOM = 1 << 16 };

static unsigned checks, failures;
static const char *now;

static void check(bool good, const char *what) {
    checks++;
    if (!good) {
        failures++;
        if (failures < 20) fprintf(stderr, "%s: %s\n", now, what);
    }
}

/* -- One line of the file ---------------------------------------------------------------------- */

/* Where the value of a field begins; NULL if the line has none of that name. */
static const char *field(const char *line, const char *name) {
    char needle[64];
    const char *at;
    snprintf(needle, sizeof needle, "\"%s\":", name);
    at = strstr(line, needle);
    return at ? at + strlen(needle) : NULL;
}

static const char *text_at(const char *line, const char *name, size_t *len) {
    const char *at = field(line, name);
    if (!at || *at != '"') {
        fprintf(stderr, "no text `%s` in %s\n", name, line);
        exit(1);
    }
    at++;
    *len = strcspn(at, "\"");
    return at;
}

static bool is_text(const char *line, const char *name, const char *text) {
    size_t len;
    const char *at = text_at(line, name, &len);
    return len == strlen(text) && memcmp(at, text, len) == 0;
}

static uint64_t number(const char *line, const char *name) {
    const char *at = field(line, name);
    if (!at) {
        fprintf(stderr, "no number `%s` in %s\n", name, line);
        exit(1);
    }
    return strtoull(at + (*at == '"'), NULL, 10);
}

static bool flag(const char *line, const char *name) {
    const char *at = field(line, name);
    return at && *at == 't';
}

static unsigned digit(char c) { return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10); }

static size_t bytes_at(const char *line, const char *name, uint8_t *out) {
    size_t len, i;
    const char *at = text_at(line, name, &len);
    for (i = 0; i < len / 2; i++) out[i] = (uint8_t)(digit(at[2 * i]) << 4 | digit(at[2 * i + 1]));
    return len / 2;
}

/* -- Checks ------------------------------------------------------------------------------------ */

static void check_bytes(const char *line, const char *name, sog_bytes found) {
    static uint8_t needed[ROOM];
    size_t len = bytes_at(line, name, needed);
    check(found.len == len && (len == 0 || memcmp(found.at, needed, len) == 0), name);
}

static void check_text(const char *line, const char *name, sog_bytes found) {
    size_t len;
    const char *needed = text_at(line, name, &len);
    check(found.len == len && memcmp(found.at, needed, len) == 0, name);
}

static void check_contract(const char *line, const sog_frame *f) {
    check_text(line, "task", f->contract.task);
    check_text(line, "obs_terms", f->contract.obs_terms);
    check_text(line, "action_terms", f->contract.action_terms);
    check(f->contract.dt_s == strtod(field(line, "dt_s"), NULL), "dt_s");
    if (f->version == 1) return;
    check_bytes(line, "action_low", f->contract.action_low);
    check_bytes(line, "action_high", f->contract.action_high);
}

static void check_fields(const char *line, const sog_frame *f) {
    static const char *const kinds[] = {"hello",       "welcome", "refuse", "ready",
                                        "observation", "command", "bye",    "guided",
                                        "again"};
    static const char *const commands[] = {"act", "damp", "stop", "reset"};
    check(f->version == number(line, "version"), "version");
    check(f->session == number(line, "session"), "session");
    check(f->seq == number(line, "seq"), "seq");
    check(f->sent_ns == number(line, "sent_ns"), "sent_ns");
    check(f->echo_seq == number(line, "echo_seq"), "echo_seq");
    check(f->echo_hold_ns == number(line, "echo_hold_ns"), "echo_hold_ns");
    check(is_text(line, "kind", kinds[f->kind]), "kind");
    switch (f->kind) {
    case SOG_HELLO:
        check(f->nonce == number(line, "nonce"), "nonce");
        check(f->period_ns == number(line, "period_ns"), "period_ns");
        check_contract(line, f);
        break;
    case SOG_WELCOME:
        check(f->nonce == number(line, "nonce"), "nonce");
        check(f->lock_step == flag(line, "lock_step"), "lock_step");
        check_contract(line, f);
        check_bytes(line, "damping_action", f->damping_action);
        check_bytes(line, "stop_action", f->stop_action);
        check_bytes(line, "max_action_step", f->max_action_step);
        break;
    case SOG_REFUSE:
        check(f->nonce == number(line, "nonce"), "nonce");
        check_text(line, "reason", f->reason);
        break;
    case SOG_OBSERVATION:
    case SOG_GUIDED:
        check(f->step == number(line, "step"), "step");
        check(f->has_reward == (*field(line, "reward") != 'n'), "reward or none");
        if (f->has_reward) check(f->reward == strtod(field(line, "reward"), NULL), "reward");
        check(f->terminated == flag(line, "terminated"), "terminated");
        check(f->follows == flag(line, "follows"), "follows");
        check_bytes(line, "values", f->values);
        if (f->kind == SOG_OBSERVATION) break;
        check(f->has_applied == (*field(line, "applied") != 'n'), "applied or none");
        if (f->has_applied) check_bytes(line, "applied", f->applied);
        check(f->buttons == number(line, "buttons"), "buttons");
        check(f->taken_over == flag(line, "taken_over"), "taken_over");
        break;
    case SOG_COMMAND:
        check(f->step == number(line, "step"), "step");
        check(is_text(line, "command", commands[f->command]), "command");
        check_bytes(line, "action", f->action);
        break;
    case SOG_AGAIN:
        check(f->first == number(line, "first"), "first");
        check(f->count == number(line, "count"), "count");
        break;
    case SOG_READY:
    case SOG_BYE:
        break;
    }
}

static const sog_key *key_of(const char *line, sog_key *key) {
    static uint8_t secret[256];
    size_t len = bytes_at(line, "key", secret);
    if (len == 0) return NULL;
    check(sog_key_init(key, secret, len), "the key is taken");
    return key;
}

static void check_serial(const char *line, const uint8_t *data, size_t len) {
    static uint8_t serial[ROOM], out[ROOM], decoded[ROOM];
    sog_framer framer;
    size_t n = bytes_at(line, "serial", serial), i, found = 0, room;
    size_t encoded = sog_cobs_encode(data, len, out, sizeof out);
    check(encoded + 2 == n && memcmp(out, serial + 1, encoded) == 0, "COBS");
    for (room = 0; room < encoded; room++)
        check(sog_cobs_encode(data, len, out, room) == 0, "COBS does not fit");
    sog_framer_init(&framer, decoded, len);
    for (i = 0; i < n; i++) {
        size_t got = sog_framer_feed(&framer, serial[i]);
        if (got) found = got;
        check(got == 0 || i == n - 1, "a frame ends with its zero");
    }
    check(found == len && memcmp(decoded, data, len) == 0, "COBS backwards");
    check(framer.corrupt == 0, "no damage is seen");
    /* Cut short, then the same again: the second must come through. */
    for (i = 0; i < n / 2; i++) sog_framer_feed(&framer, serial[i]);
    for (i = 0, found = 0; i < n; i++) {
        size_t got = sog_framer_feed(&framer, serial[i]);
        if (got) found = got;
    }
    check(found == len && memcmp(decoded, data, len) == 0, "after a frame cut short");
    if (len > 0) {
        sog_framer_init(&framer, decoded, len - 1);
        for (i = 0, found = 0; i < n; i++) found |= sog_framer_feed(&framer, serial[i]);
        check(found == 0 && framer.corrupt == 1, "a frame that does not fit");
    }
}

static uint64_t random_state = 0x5347;

static uint64_t random_bits(void) {
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Damaged packets of the size they were, so that reading past them is seen. */
static void check_damage(const uint8_t *packet, size_t len, const sog_key *key) {
    unsigned i;
    for (i = 0; i < 2000; i++) {
        size_t n = i % 4 ? len : (size_t)(random_bits() % (len + 1)), changes, k;
        uint8_t *bad = malloc(n ? n : 1), again[ROOM];
        sog_frame f;
        memcpy(bad, packet, n);
        for (changes = 1 + random_bits() % 3, k = 0; n && k < changes; k++)
            bad[random_bits() % n] = (uint8_t)random_bits();
        if (i % 2 && n >= 4) {
            /* With its checksum mended, so that what stands behind it is reached. */
            uint32_t crc = sog_crc32(bad, n - 4);
            for (k = 0; k < 4; k++) bad[n - 4 + k] = (uint8_t)(crc >> 8 * k);
        }
        if (sog_open(bad, n, i % 8 < 4 ? NULL : key, &f) == SOG_GOOD)
            check(sog_seal(&f, NULL, again, sizeof again) != 0, "what opens can be sealed");
        free(bad);
    }
}

static void check_packet(const char *line) {
    static uint8_t packet[ROOM], again[ROOM];
    sog_key key;
    const sog_key *with = key_of(line, &key);
    size_t len = bytes_at(line, "packet", packet), room;
    sog_frame f;
    sog_fate fate = sog_open(packet, len, with, &f);
    check(fate == SOG_GOOD, "it opens");
    if (fate != SOG_GOOD) return;
    check_fields(line, &f);
    check(sog_seal(&f, with, again, sizeof again) == len && memcmp(packet, again, len) == 0,
          "it seals to the same bytes");
    for (room = 0; room < len; room++)
        check(sog_seal(&f, with, again, room) == 0, "it does not fit");
    check_serial(line, packet, len);
    check_damage(packet, len, with);
}

static void check_refused(const char *line) {
    static uint8_t packet[ROOM];
    sog_key key;
    const sog_key *with = key_of(line, &key);
    size_t len = bytes_at(line, "packet", packet);
    sog_frame f;
    switch (sog_open(packet, len, with, &f)) {
    case SOG_CORRUPT: check(is_text(line, "refused", "corrupt"), "not corrupt"); break;
    case SOG_VERSION: check(is_text(line, "refused", "version"), "not its version"); break;
    case SOG_UNAUTHENTICATED:
        check(is_text(line, "refused", "unauthenticated"), "not unauthenticated");
        break;
    default: check(false, "it must be refused");
    }
}

int main(int argc, char **argv) {
    static char line[1 << 18], name[128];
    static uint8_t data[ROOM];
    unsigned vectors = 0;
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!file) {
        fprintf(stderr, "usage: %s vectors.json\n", argv[0]);
        return 2;
    }
    while (fgets(line, sizeof line, file)) {
        if (field(line, "refused") && field(line, "packet")) {
            snprintf(name, sizeof name, "refused %.40s", strstr(line, "\"name\":") + 7);
            now = name;
            check_refused(line);
        } else if (field(line, "packet")) {
            snprintf(name, sizeof name, "packet %.40s", strstr(line, "\"name\":") + 7);
            now = name;
            check_packet(line);
        } else if (field(line, "data")) {
            now = "cobs";
            check_serial(line, data, bytes_at(line, "data", data));
        } else {
            continue;
        }
        vectors++;
    }
    fclose(file);
    printf("%u vectors, %u checks, %u failures\n", vectors, checks, failures);
    return failures || vectors < 50;
}
