/* The robot's side of sog in one C99 header: packets, session, watchdog. No malloc, no I/O.
 *
 * The format and its rules are in docs/protocol.md; test vectors in ../vectors.json.
 *
 * In one source file:
 *
 *     #define SOG_ROBOT_IMPLEMENTATION
 *     #include "sog_robot.h"
 *
 * and in others without the first line. Without authentication define SOG_ROBOT_NO_HMAC in all of
 * them, which saves about 1 KB of code.
 *
 * How a robot uses it (udp_robot.c and serial_robot.c are whole ones):
 *
 *     static uint8_t tx[1024];
 *     static float action[2];
 *     sog_session s;
 *     sog_session_init(&s, &spec, &options, action, tx, sizeof tx);
 *     for (;;) {
 *         // For every packet that comes, and in real time once a period (sog_session_tick):
 *         sog_do todo = sog_session_receive(&s, packet, len, now_ns());
 *         if (s.tx_len) send(s.tx, s.tx_len);
 *         apply(todo, action);                  // SOG_DO_ACT, _DAMP, _STOP, _RESET, _START, _END
 *         if (sog_session_wants_observation(&s, todo)) {
 *             sense(values);                    // float values[S], which stays where it is
 *             sog_session_observe(&s, values, &extra, now_ns());
 *             send(s.tx, s.tx_len);
 *         }
 *     }
 *
 * Needs an IEEE-754 `float` of 32 and `double` of 64 bits. Either byte order.
 */
#ifndef SOG_ROBOT_H
#define SOG_ROBOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* -- Packets ----------------------------------------------------------------------------------- */

enum {
    SOG_WIRE_VERSION = 2,   /* newest version that this header speaks; it speaks 1 too */
    SOG_MAX_PACKET = 65507, /* what a UDP datagram can hold */
    SOG_MIN_KEY_BYTES = 16, /* fewest bytes of a key */
    SOG_MAC_BYTES = 16
};

/* What becomes of a packet. */
typedef enum {
    SOG_GOOD,
    SOG_LOST,
    SOG_LATE,
    SOG_DUPLICATED,
    SOG_REORDERED,
    SOG_CORRUPT,
    SOG_FOREIGN,
    SOG_UNAUTHENTICATED,
    SOG_VERSION,
    SOG_MISFIT,
    SOG_FATES
} sog_fate;

/* Kind of a message. */
typedef enum {
    SOG_HELLO,
    SOG_WELCOME,
    SOG_REFUSE,
    SOG_READY,
    SOG_OBSERVATION,
    SOG_COMMAND,
    SOG_BYE,
    SOG_GUIDED, /* version 2: an observation with what was applied and what a person does */
    SOG_AGAIN   /* version 2: the controller sends for observations that were lost */
} sog_kind;

/* Kind of a command. */
typedef enum { SOG_ACT, SOG_DAMP, SOG_STOP, SOG_RESET } sog_command;

/* Bytes that belong to somebody else: text without an end mark, or little-endian f32. */
typedef struct {
    const uint8_t *at;
    size_t len;
} sog_bytes;

/* What policy and robot must agree on. */
typedef struct {
    sog_bytes task, obs_terms, action_terms;
    double dt_s;                       /* control period of the task */
    sog_bytes action_low, action_high; /* f32[A]; version 2 */
} sog_contract;

/* What a packet holds. Of the fields below `kind` only those of that kind count. */
typedef struct {
    uint8_t version;
    uint64_t session;      /* 0 before there is one */
    uint32_t seq;          /* counts up from 1 in every session and direction */
    uint64_t sent_ns;      /* the sender's clock */
    uint32_t echo_seq;     /* newest frame that the sender has got, 0 for none... */
    uint64_t echo_hold_ns; /* ...and how long it has had it */
    sog_kind kind;

    uint64_t nonce;        /* hello, welcome, refuse */
    sog_contract contract; /* hello, welcome */
    uint64_t period_ns;    /* hello: the controller's period */
    bool lock_step;        /* welcome */
    sog_bytes damping_action, stop_action, max_action_step; /* welcome: f32[A] */
    sog_bytes reason;      /* refuse */
    uint64_t step;         /* observation, guided, command */
    bool has_reward;       /* observation, guided */
    double reward;
    bool terminated;
    bool follows;
    sog_bytes values;      /* f32[S] */
    sog_command command;   /* command */
    sog_bytes action;      /* f32[A] for SOG_ACT, else empty */
    bool has_applied;      /* guided: the action of the step that led here, f32[A] */
    sog_bytes applied;
    uint32_t buttons;      /* guided: bit n is button n, set while it is pressed */
    bool taken_over;       /* guided: a person leads the robot */
    uint64_t first;        /* again: step of the first observation sent for... */
    uint32_t count;        /* ...and how many */
} sog_frame;

/* A shared secret that authenticates every packet. */
typedef struct {
    uint32_t inner[8], outer[8]; /* SHA-256 after the padded key */
} sog_key;

/* A key from the bytes of a secret; false if they are fewer than SOG_MIN_KEY_BYTES, or there is no
 * authentication. */
bool sog_key_init(sog_key *key, const uint8_t *secret, size_t len);
#ifndef SOG_ROBOT_NO_HMAC
/* HMAC-SHA-256. */
void sog_hmac(const sog_key *key, const uint8_t *data, size_t len, uint8_t mac[32]);
#endif

/* Writes the packet of a frame and returns its length; 0 if it does not fit. `key` may be NULL. */
size_t sog_seal(const sog_frame *frame, const sog_key *key, uint8_t *packet, size_t room);

/* Reads a packet; the frame points into it. SOG_GOOD, or why it is dropped: SOG_CORRUPT,
 * SOG_VERSION, SOG_UNAUTHENTICATED. */
sog_fate sog_open(const uint8_t *packet, size_t len, const sog_key *key, sog_frame *frame);

/* CRC-32 (ISO-HDLC, as in zlib). */
uint32_t sog_crc32(const uint8_t *data, size_t len);

/* Number i of little-endian f32 bytes, and the other way. */
float sog_get_float(sog_bytes numbers, size_t i);
void sog_put_float(uint8_t *bytes, size_t i, float value);

/* -- Serial lines: 0 cobs(packet) 0 ------------------------------------------------------------ */

/* Encodes into `out` without the zeros around it and returns the length; 0 if it does not fit. */
size_t sog_cobs_encode(const uint8_t *data, size_t len, uint8_t *out, size_t room);

/* Packets out of a line's bytes. */
typedef struct {
    uint8_t *packet; /* the packet in progress */
    size_t room, len;
    uint8_t code, left; /* of the COBS block in progress */
    bool any, bad;
    uint32_t corrupt; /* frames that were damaged or too long */
} sog_framer;

/* A framer that builds packets of at most `room` bytes in `packet`. */
void sog_framer_init(sog_framer *framer, uint8_t *packet, size_t room);

/* Takes one byte of the line; the length of the packet that it completes, else 0. */
size_t sog_framer_feed(sog_framer *framer, uint8_t byte);

/* -- The session ------------------------------------------------------------------------------- */

/* What the robot is: texts end with a zero. */
typedef struct {
    const char *task, *obs_terms, *action_terms;
    double dt_s;
    uint32_t obs_dim, action_dim;  /* S and A, the sums of the terms' widths */
    const float *action_low;       /* [A], or NULL for those of the policy */
    const float *action_high;      /* [A], or NULL for those of the policy */
    const float *damping_action;   /* [A], or NULL for zeros */
    const float *stop_action;      /* [A], or NULL for zeros */
    const float *max_action_step;  /* [A], or NULL for no limit */
} sog_spec;

/* How the robot serves. */
typedef struct {
    const sog_key *key;        /* NULL: nobody is authenticated */
    bool lock_step;            /* wait for the controller at every step; else real time */
    uint32_t watchdog_periods; /* damp after so many periods without a command; 3 is usual */
    uint32_t late_periods;     /* do not follow commands older than so many periods; 2 is usual */
    uint64_t (*random)(void);  /* 64 bits that nobody can guess */
} sog_options;

/* What the robot must do now. */
typedef enum {
    SOG_DO_NOTHING,
    SOG_DO_START, /* a session begins: the first finds the robot as it is, later ones reset it */
    SOG_DO_ACT,   /* apply the action */
    SOG_DO_DAMP,  /* damp */
    SOG_DO_STOP,  /* emergency stop, and nothing else until a reset */
    SOG_DO_RESET, /* clear a stop or a failure */
    SOG_DO_END    /* the session is over: damp (where s->stopped, stop), and hear every peer again */
} sog_do;

/* What comes with an observation; zeros where there is nothing to say. */
typedef struct {
    bool has_reward;
    double reward;
    bool terminated;      /* the robot's episode has ended: it has fallen, say */
    const float *applied; /* action of the step that led here, [A], or NULL (version 2) */
    uint32_t buttons;     /* (version 2) */
    bool taken_over;      /* a person leads the robot (version 2) */
} sog_extra;

/* The robot's side of one session after another. Read what you like, change nothing. */
typedef struct {
    const sog_spec *spec;
    sog_options options;
    uint8_t *tx;   /* packet to send, if tx_len is not 0 */
    size_t tx_room, tx_len;
    float *action; /* action to apply, [A] */

    uint64_t session;   /* 0: none */
    uint8_t version;    /* of the session */
    uint64_t period_ns; /* control period of the session */
    bool follows;       /* false in damping by the watchdog and in a stop */
    bool stopped;       /* in an emergency stop, until a reset or the next session */
    uint64_t step;      /* of the last observation */

    uint32_t sessions, steps, watchdog; /* how many; how often the controller was silent */
    uint32_t sent, received, dropped[SOG_FATES];
    uint32_t commands[4]; /* obeyed: act, damp, stop, reset */

    /* A session that was granted and whose first packet has not come. */
    uint64_t granted, granted_nonce, granted_period_ns;
    uint8_t granted_version;
    uint32_t seq, echo_seq, newest;
    uint64_t echo_ns, seen, heard_ns;
    int64_t least_ns[2]; /* least transit of this window and of the one before */
    uint8_t leasts;
    uint64_t window_from_ns;
    uint32_t uncommanded, unheard; /* periods without */
    bool commanded, heard, observed;
    sog_command last;
    const float *values; /* the last observation */
    sog_extra extra;
} sog_session;

/* A session of a robot. `action` has room for A numbers; `tx` for the largest packet that is sent:
 * sog_largest_packet(spec) bytes are enough. All pointers must stay valid. */
void sog_session_init(sog_session *s, const sog_spec *spec, const sog_options *options,
                      float *action, uint8_t *tx, size_t tx_room);

/* Bytes that the largest packet of a robot takes, either way. */
size_t sog_largest_packet(const sog_spec *spec);

/* Takes in a packet. Send s->tx if s->tx_len is not 0, then do what is returned. */
sog_do sog_session_receive(sog_session *s, const uint8_t *packet, size_t len, uint64_t now_ns);

/* To be called once a period; what to do in it. In lock step it only notices that the controller
 * has gone. Send s->tx if s->tx_len is not 0. */
sog_do sog_session_tick(sog_session *s, uint64_t now_ns);

/* After sog_session_receive: whether to observe once this is done. In real time an observation also
 * follows every sog_session_tick as long as s->session is not 0. */
bool sog_session_wants_observation(const sog_session *s, sog_do done);

/* Puts a new observation `values`, [S], into s->tx. They are read again where the controller asks
 * again, so they stay where they are, as does extra->applied. `extra` may be NULL. */
void sog_session_observe(sog_session *s, const float *values, const sog_extra *extra,
                         uint64_t now_ns);

/* Ends the session from the robot's side: SOG_DO_END. */
sog_do sog_session_end(sog_session *s, uint64_t now_ns);

#ifdef __cplusplus
}
#endif
#endif /* SOG_ROBOT_H */

/* ============================================================================================== */

#if defined(SOG_ROBOT_IMPLEMENTATION) && !defined(SOG_ROBOT_IMPLEMENTED)
#define SOG_ROBOT_IMPLEMENTED

#include <string.h>

/* -- Checksum ---------------------------------------------------------------------------------- */

/* A table of sixteen: 64 bytes of flash. */
static uint32_t sog_crc_add(uint32_t crc, const uint8_t *data, size_t len) {
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    size_t i;
    for (i = 0; i < len; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return crc;
}

uint32_t sog_crc32(const uint8_t *data, size_t len) {
    return ~sog_crc_add(0xffffffffu, data, len);
}

/* -- HMAC-SHA-256 (FIPS 180-4, RFC 2104) ------------------------------------------------------- */

#ifndef SOG_ROBOT_NO_HMAC
static uint32_t sog_rotate(uint32_t x, unsigned n) { return x >> n | x << (32 - n); }

static void sog_sha_block(uint32_t state[8], const uint8_t block[64]) {
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
        0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
        0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
        0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
        0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
        0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
        0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
        0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
        0xc67178f2};
    uint32_t w[16], v[8];
    unsigned i;
    for (i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    memcpy(v, state, sizeof v);
    for (i = 0; i < 64; i++) {
        uint32_t s0, s1, t1, t2;
        if (i >= 16) {
            uint32_t a = w[(i + 1) & 15], b = w[(i + 14) & 15];
            s0 = sog_rotate(a, 7) ^ sog_rotate(a, 18) ^ a >> 3;
            s1 = sog_rotate(b, 17) ^ sog_rotate(b, 19) ^ b >> 10;
            w[i & 15] += s0 + w[(i + 9) & 15] + s1;
        }
        s1 = sog_rotate(v[4], 6) ^ sog_rotate(v[4], 11) ^ sog_rotate(v[4], 25);
        t1 = v[7] + s1 + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i & 15];
        s0 = sog_rotate(v[0], 2) ^ sog_rotate(v[0], 13) ^ sog_rotate(v[0], 22);
        t2 = s0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (i = 0; i < 8; i++) state[i] += v[i];
}

/* Ends a hash whose first 64 bytes lie in `state` already. */
static void sog_sha_finish(uint32_t state[8], const uint8_t *data, size_t len, size_t before,
                           uint8_t digest[32]) {
    uint8_t block[64];
    uint64_t bits = ((uint64_t)before + len) * 8;
    size_t rest = len % 64;
    unsigned i;
    for (; len >= 64; len -= 64, data += 64) sog_sha_block(state, data);
    memset(block, 0, sizeof block);
    if (rest) memcpy(block, data, rest);
    block[rest] = 0x80;
    if (rest >= 56) {
        sog_sha_block(state, block);
        memset(block, 0, sizeof block);
    }
    for (i = 0; i < 8; i++) block[56 + i] = (uint8_t)(bits >> (56 - 8 * i));
    sog_sha_block(state, block);
    for (i = 0; i < 32; i++) digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}

static const uint32_t sog_sha_start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

bool sog_key_init(sog_key *key, const uint8_t *secret, size_t len) {
    uint8_t pad[64] = {0};
    unsigned i;
    if (len < SOG_MIN_KEY_BYTES) return false;
    if (len > 64) {
        uint32_t state[8];
        memcpy(state, sog_sha_start, sizeof state);
        sog_sha_finish(state, secret, len, 0, pad);
    } else {
        memcpy(pad, secret, len);
    }
    for (i = 0; i < 64; i++) pad[i] ^= 0x36;
    memcpy(key->inner, sog_sha_start, sizeof key->inner);
    sog_sha_block(key->inner, pad);
    for (i = 0; i < 64; i++) pad[i] ^= 0x36 ^ 0x5c;
    memcpy(key->outer, sog_sha_start, sizeof key->outer);
    sog_sha_block(key->outer, pad);
    return true;
}

void sog_hmac(const sog_key *key, const uint8_t *data, size_t len, uint8_t mac[32]) {
    uint32_t state[8];
    uint8_t inner[32];
    memcpy(state, key->inner, sizeof state);
    sog_sha_finish(state, data, len, 64, inner);
    memcpy(state, key->outer, sizeof state);
    sog_sha_finish(state, inner, sizeof inner, 64, mac);
}
#else
bool sog_key_init(sog_key *key, const uint8_t *secret, size_t len) {
    (void)key, (void)secret, (void)len;
    return false;
}
#endif

/* -- Texts ------------------------------------------------------------------------------------- */

/* The only schema that version 1 was made for. */
#define SOG_SCHEMA_1 "sog.policy/1"

static sog_bytes sog_text(const char *text) {
    sog_bytes bytes;
    bytes.at = (const uint8_t *)text;
    bytes.len = strlen(text);
    return bytes;
}

static bool sog_same(sog_bytes a, sog_bytes b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* -- Writing ----------------------------------------------------------------------------------- */

typedef struct {
    uint8_t *at;
    size_t room, len;
    bool full;
} sog_writer;

static void sog_put(sog_writer *w, const void *data, size_t len) {
    if (w->full || len > w->room - w->len) {
        w->full = true;
        return;
    }
    if (len) memcpy(w->at + w->len, data, len);
    w->len += len;
}

static void sog_put_byte(sog_writer *w, uint8_t byte) { sog_put(w, &byte, 1); }

static void sog_put_varint(sog_writer *w, uint64_t value) {
    for (; value >= 0x80; value >>= 7) sog_put_byte(w, (uint8_t)(value & 0x7f) | 0x80);
    sog_put_byte(w, (uint8_t)value);
}

static void sog_put_le(sog_writer *w, uint64_t value, unsigned bytes) {
    unsigned i;
    for (i = 0; i < bytes; i++) sog_put_byte(w, (uint8_t)(value >> 8 * i));
}

static void sog_put_double(sog_writer *w, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    sog_put_le(w, bits, 8);
}

static void sog_put_blob(sog_writer *w, sog_bytes bytes) {
    sog_put_varint(w, bytes.len);
    sog_put(w, bytes.at, bytes.len);
}

static void sog_put_contract(sog_writer *w, const sog_contract *c, uint8_t version) {
    if (version == 1) sog_put_blob(w, sog_text(SOG_SCHEMA_1));
    sog_put_blob(w, c->task);
    sog_put_blob(w, c->obs_terms);
    sog_put_blob(w, c->action_terms);
    sog_put_double(w, c->dt_s);
    if (version == 1) return;
    sog_put_blob(w, c->action_low);
    sog_put_blob(w, c->action_high);
}

/* Numbers as little-endian f32; `without` for each if there are none. */
static void sog_put_numbers(sog_writer *w, const float *numbers, size_t n, float without) {
    size_t i;
    sog_put_varint(w, 4 * (uint64_t)n);
    for (i = 0; i < n; i++) {
        uint32_t bits;
        float value = numbers ? numbers[i] : without;
        memcpy(&bits, &value, sizeof bits);
        sog_put_le(w, bits, 4);
    }
}

/* All that stands before the message, and its kind. */
static sog_writer sog_head(const sog_frame *f, uint8_t *packet, size_t room) {
    sog_writer w;
    w.at = packet;
    w.room = room < (size_t)SOG_MAX_PACKET ? room : (size_t)SOG_MAX_PACKET;
    w.len = 0;
    w.full = f->version < 1 || f->version > SOG_WIRE_VERSION;
    w.full |= f->kind >= SOG_GUIDED && f->version < 2;
    sog_put(&w, "SG", 2);
    sog_put_byte(&w, f->version);
    sog_put_varint(&w, f->session);
    sog_put_varint(&w, f->seq);
    sog_put_varint(&w, f->sent_ns);
    sog_put_varint(&w, f->echo_seq);
    sog_put_varint(&w, f->echo_hold_ns);
    sog_put_varint(&w, (uint64_t)f->kind);
    return w;
}

/* MAC and checksum; the length of the packet, 0 if it does not fit. */
static size_t sog_tail(sog_writer *w, const sog_key *key) {
    if (key && !w->full) {
#ifdef SOG_ROBOT_NO_HMAC
        return 0;
#else
        uint8_t mac[32];
        sog_hmac(key, w->at, w->len, mac);
        sog_put(w, mac, SOG_MAC_BYTES);
#endif
    }
    if (!w->full) sog_put_le(w, sog_crc32(w->at, w->len), 4);
    return w->full ? 0 : w->len;
}

/* An observation but for its values, which come last. */
static void sog_put_seen(sog_writer *w, const sog_frame *f) {
    sog_put_varint(w, f->step);
    sog_put_byte(w, f->has_reward);
    if (f->has_reward) sog_put_double(w, f->reward);
    sog_put_byte(w, f->terminated);
    sog_put_byte(w, f->follows);
}

size_t sog_seal(const sog_frame *f, const sog_key *key, uint8_t *packet, size_t room) {
    sog_writer w = sog_head(f, packet, room);
    switch (f->kind) {
    case SOG_HELLO:
        sog_put_varint(&w, f->nonce);
        sog_put_contract(&w, &f->contract, f->version);
        sog_put_varint(&w, f->period_ns);
        break;
    case SOG_WELCOME:
        sog_put_varint(&w, f->nonce);
        sog_put_contract(&w, &f->contract, f->version);
        sog_put_byte(&w, f->lock_step);
        sog_put_blob(&w, f->damping_action);
        sog_put_blob(&w, f->stop_action);
        sog_put_blob(&w, f->max_action_step);
        break;
    case SOG_REFUSE:
        sog_put_varint(&w, f->nonce);
        sog_put_blob(&w, f->reason);
        break;
    case SOG_OBSERVATION:
    case SOG_GUIDED:
        sog_put_seen(&w, f);
        sog_put_blob(&w, f->values);
        if (f->kind == SOG_OBSERVATION) break;
        sog_put_byte(&w, f->has_applied);
        if (f->has_applied) sog_put_blob(&w, f->applied);
        sog_put_varint(&w, f->buttons);
        sog_put_byte(&w, f->taken_over);
        break;
    case SOG_COMMAND:
        sog_put_varint(&w, f->step);
        sog_put_varint(&w, (uint64_t)f->command);
        sog_put_blob(&w, f->action);
        break;
    case SOG_AGAIN:
        sog_put_varint(&w, f->first);
        sog_put_varint(&w, f->count);
        break;
    case SOG_READY:
    case SOG_BYE:
        break;
    }
    return sog_tail(&w, key);
}

/* -- Reading ----------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *at;
    size_t len;
    bool bad;
    bool foreign; /* a contract was made for another schema than that of its version */
} sog_reader;

static uint8_t sog_take_byte(sog_reader *r) {
    if (r->bad || r->len == 0) {
        r->bad = true;
        return 0;
    }
    r->len--;
    return *r->at++;
}

/* A number of at most `bits` bits. */
static uint64_t sog_take_varint(sog_reader *r, unsigned bits) {
    uint64_t value = 0;
    unsigned shift;
    for (shift = 0; shift < bits; shift += 7) {
        uint8_t byte = sog_take_byte(r);
        uint64_t part = byte & 0x7f;
        if (r->bad) return 0;
        if (bits - shift < 7 && part >> (bits - shift)) break;
        value |= part << shift;
        if (byte < 0x80) return value;
    }
    r->bad = true;
    return 0;
}

static bool sog_take_bool(sog_reader *r) {
    uint8_t byte = sog_take_byte(r);
    if (byte > 1) r->bad = true;
    return byte == 1;
}

static double sog_take_double(sog_reader *r) {
    uint64_t bits = 0;
    double value;
    unsigned i;
    for (i = 0; i < 8; i++) bits |= (uint64_t)sog_take_byte(r) << 8 * i;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static sog_bytes sog_take_blob(sog_reader *r) {
    sog_bytes bytes = {NULL, 0};
    uint64_t len = sog_take_varint(r, 64);
    if (r->bad || len > r->len) {
        r->bad = true;
        return bytes;
    }
    bytes.at = r->at;
    bytes.len = (size_t)len;
    r->at += bytes.len;
    r->len -= bytes.len;
    return bytes;
}

/* UTF-8 as RFC 3629 has it: shortest form, no surrogates, at most U+10FFFF. */
static sog_bytes sog_take_text(sog_reader *r) {
    sog_bytes text = sog_take_blob(r);
    size_t i = 0;
    while (i < text.len) {
        uint8_t b = text.at[i++], low = 0x80, high = 0xbf;
        unsigned more = 0;
        if (b < 0x80) continue;
        if (b >= 0xc2 && b <= 0xdf) more = 1;
        else if (b >= 0xe0 && b <= 0xef) more = 2;
        else if (b >= 0xf0 && b <= 0xf4) more = 3;
        else r->bad = true;
        if (b == 0xe0) low = 0xa0;
        if (b == 0xed) high = 0x9f;
        if (b == 0xf0) low = 0x90;
        if (b == 0xf4) high = 0x8f;
        for (; more && !r->bad; more--, low = 0x80, high = 0xbf) {
            if (i == text.len || text.at[i] < low || text.at[i] > high) r->bad = true;
            else i++;
        }
        if (r->bad) break;
    }
    return text;
}

static void sog_take_contract(sog_reader *r, sog_contract *c, uint8_t version) {
    if (version == 1) r->foreign |= !sog_same(sog_take_text(r), sog_text(SOG_SCHEMA_1));
    c->task = sog_take_text(r);
    c->obs_terms = sog_take_text(r);
    c->action_terms = sog_take_text(r);
    c->dt_s = sog_take_double(r);
    if (version == 1) return;
    c->action_low = sog_take_blob(r);
    c->action_high = sog_take_blob(r);
}

static void sog_take_message(sog_reader *r, sog_frame *f) {
    uint64_t kind = sog_take_varint(r, 32);
    if (kind > (uint64_t)(f->version >= 2 ? SOG_AGAIN : SOG_BYE)) {
        r->bad = true;
        return;
    }
    f->kind = (sog_kind)kind;
    switch (f->kind) {
    case SOG_HELLO:
        f->nonce = sog_take_varint(r, 64);
        sog_take_contract(r, &f->contract, f->version);
        f->period_ns = sog_take_varint(r, 64);
        break;
    case SOG_WELCOME:
        f->nonce = sog_take_varint(r, 64);
        sog_take_contract(r, &f->contract, f->version);
        f->lock_step = sog_take_bool(r);
        f->damping_action = sog_take_blob(r);
        f->stop_action = sog_take_blob(r);
        f->max_action_step = sog_take_blob(r);
        break;
    case SOG_REFUSE:
        f->nonce = sog_take_varint(r, 64);
        f->reason = sog_take_text(r);
        break;
    case SOG_OBSERVATION:
    case SOG_GUIDED:
        f->step = sog_take_varint(r, 64);
        f->has_reward = sog_take_bool(r);
        if (f->has_reward) f->reward = sog_take_double(r);
        f->terminated = sog_take_bool(r);
        f->follows = sog_take_bool(r);
        f->values = sog_take_blob(r);
        if (f->kind == SOG_OBSERVATION) break;
        f->has_applied = sog_take_bool(r);
        if (f->has_applied) f->applied = sog_take_blob(r);
        f->buttons = (uint32_t)sog_take_varint(r, 32);
        f->taken_over = sog_take_bool(r);
        break;
    case SOG_COMMAND: {
        uint64_t command;
        f->step = sog_take_varint(r, 64);
        command = sog_take_varint(r, 32);
        if (command > SOG_RESET) r->bad = true;
        else f->command = (sog_command)command;
        f->action = sog_take_blob(r);
        break;
    }
    case SOG_AGAIN:
        f->first = sog_take_varint(r, 64);
        f->count = (uint32_t)sog_take_varint(r, 32);
        break;
    case SOG_READY:
    case SOG_BYE:
        break;
    }
}

sog_fate sog_open(const uint8_t *packet, size_t len, const sog_key *key, sog_frame *f) {
    sog_reader r;
    memset(f, 0, sizeof *f);
    if (len < 4) return SOG_CORRUPT;
    r.at = packet + len - 4;
    len -= 4;
    if (sog_crc32(packet, len) != ((uint32_t)r.at[0] | (uint32_t)r.at[1] << 8 |
                                   (uint32_t)r.at[2] << 16 | (uint32_t)r.at[3] << 24))
        return SOG_CORRUPT;
    if (len < 3 || packet[0] != 'S' || packet[1] != 'G') return SOG_CORRUPT;
    f->version = packet[2];
    if (f->version < 1 || f->version > SOG_WIRE_VERSION) return SOG_VERSION;
    if (key) {
#ifdef SOG_ROBOT_NO_HMAC
        return SOG_UNAUTHENTICATED;
#else
        uint8_t mac[32], wrong = 0;
        unsigned i;
        if (len < SOG_MAC_BYTES) return SOG_UNAUTHENTICATED;
        len -= SOG_MAC_BYTES;
        sog_hmac(key, packet, len, mac);
        /* In the same time wherever they differ. */
        for (i = 0; i < SOG_MAC_BYTES; i++) wrong |= mac[i] ^ packet[len + i];
        if (wrong) return SOG_UNAUTHENTICATED;
        if (len < 3) return SOG_CORRUPT;
#endif
    }
    r.at = packet + 3;
    r.len = len - 3;
    r.bad = r.foreign = false;
    f->session = sog_take_varint(&r, 64);
    f->seq = (uint32_t)sog_take_varint(&r, 32);
    f->sent_ns = sog_take_varint(&r, 64);
    f->echo_seq = (uint32_t)sog_take_varint(&r, 32);
    f->echo_hold_ns = sog_take_varint(&r, 64);
    sog_take_message(&r, f);
    if (r.bad || r.len) return SOG_CORRUPT;
    return r.foreign ? SOG_VERSION : SOG_GOOD;
}

float sog_get_float(sog_bytes numbers, size_t i) {
    const uint8_t *b = numbers.at + 4 * i;
    uint32_t bits =
        (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void sog_put_float(uint8_t *bytes, size_t i, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bytes[4 * i] = (uint8_t)bits;
    bytes[4 * i + 1] = (uint8_t)(bits >> 8);
    bytes[4 * i + 2] = (uint8_t)(bits >> 16);
    bytes[4 * i + 3] = (uint8_t)(bits >> 24);
}

/* -- COBS -------------------------------------------------------------------------------------- */

size_t sog_cobs_encode(const uint8_t *data, size_t len, uint8_t *out, size_t room) {
    size_t at = 1, code_at = 0, i;
    uint8_t code = 1;
    bool open = true; /* whether a block waits for its code */
    if (room < 1) return 0;
    for (i = 0; i < len; i++) {
        if (!open) {
            if (at >= room) return 0;
            code_at = at++;
            code = 1;
            open = true;
        }
        if (data[i]) {
            if (at >= room) return 0;
            out[at++] = data[i];
            code++;
            if (code == 0xff) {
                out[code_at] = code;
                open = false;
            }
        } else {
            out[code_at] = code;
            if (at >= room) return 0;
            code_at = at++;
            code = 1;
        }
    }
    if (open) out[code_at] = code;
    return at;
}

void sog_framer_init(sog_framer *f, uint8_t *packet, size_t room) {
    memset(f, 0, sizeof *f);
    f->packet = packet;
    f->room = room;
}

size_t sog_framer_feed(sog_framer *f, uint8_t byte) {
    if (byte == 0) {
        size_t len = f->len;
        bool any = f->any, good = any && !f->bad && f->left == 0;
        f->corrupt += any && !good;
        f->len = 0;
        f->code = f->left = 0;
        f->any = f->bad = false;
        return good ? len : 0;
    }
    if (f->left == 0) {
        /* A code; the block before it ended in a zero unless it was full or there was none. */
        if (f->any && f->code != 0xff) {
            if (f->len < f->room) f->packet[f->len++] = 0;
            else f->bad = true;
        }
        f->code = byte;
        f->left = byte - 1;
        f->any = true;
    } else {
        if (f->len < f->room) f->packet[f->len++] = byte;
        else f->bad = true;
        f->left--;
    }
    return 0;
}

/* -- The session ------------------------------------------------------------------------------- */

/* A lock-step session whose controller is silent for so long is over. */
#define SOG_SILENCE_NS UINT64_C(10000000000)
/* The least transit time is looked for anew this often. */
#define SOG_TRANSIT_WINDOW_NS UINT64_C(10000000000)
/* How far back a late packet can still be told from a repeated one. */
#define SOG_WINDOW 64

static sog_contract sog_contract_of(const sog_spec *spec) {
    sog_contract c;
    memset(&c, 0, sizeof c);
    c.task = sog_text(spec->task);
    c.obs_terms = sog_text(spec->obs_terms);
    c.action_terms = sog_text(spec->action_terms);
    c.dt_s = spec->dt_s;
    return c;
}

/* Begins a session whose first packet has number `first`, or the time between two sessions. */
static void sog_begin(sog_session *s, uint64_t session, uint32_t first, uint64_t now_ns) {
    s->session = session;
    /* The welcome, however often it was sent, is the first packet of the session. */
    s->seq = session ? 1 : 0;
    s->newest = first;
    s->seen = UINT64_MAX;
    s->echo_seq = 0;
    s->leasts = 0;
    s->window_from_ns = 0;
    s->heard_ns = now_ns;
    s->uncommanded = s->unheard = 0;
    s->commanded = s->heard = true;
    s->last = SOG_DAMP;
    /* A stop outlasts its session. */
    if (session) s->stopped = false;
    s->follows = !s->stopped;
    s->values = NULL;
}

/* The action becomes that of damping. */
static void sog_rest(sog_session *s) {
    const float *damping = s->spec->damping_action;
    uint32_t i;
    for (i = 0; i < s->spec->action_dim; i++) s->action[i] = damping ? damping[i] : 0.0f;
}

void sog_session_init(sog_session *s, const sog_spec *spec, const sog_options *options,
                      float *action, uint8_t *tx, size_t tx_room) {
    memset(s, 0, sizeof *s);
    s->spec = spec;
    s->options = *options;
    s->action = action;
    s->tx = tx;
    s->tx_room = tx_room;
    s->version = 1;
    sog_rest(s);
    sog_begin(s, 0, 0, 0);
}

size_t sog_largest_packet(const sog_spec *spec) {
    sog_contract c = sog_contract_of(spec);
    /* Marks, version, numbers at their longest, MAC and CRC. */
    size_t frame = 3 + 10 + 5 + 10 + 5 + 10 + 1 + SOG_MAC_BYTES + 4;
    size_t terms = c.obs_terms.len + c.action_terms.len;
    size_t texts = sizeof SOG_SCHEMA_1 + c.task.len + terms + 4 * 10 + 8;
    size_t hello = 10 + texts + 10 + 5 * (5 + 4 * (size_t)spec->action_dim);
    size_t seen = 10 + 9 + 2 + 5 + 4 * (size_t)spec->obs_dim + 1 + 5 +
                  4 * (size_t)spec->action_dim + 5 + 1;
    return frame + (hello > seen ? hello : seen);
}

/* Numbers that stand in every packet; those of a session too. */
static void sog_stamp(const sog_session *s, sog_frame *f, uint64_t now_ns) {
    f->sent_ns = now_ns;
    f->echo_seq = s->echo_seq;
    f->echo_hold_ns = s->echo_seq ? now_ns - s->echo_ns : 0;
}

static sog_frame sog_frame_of(sog_session *s, sog_kind kind, uint64_t now_ns) {
    sog_frame f;
    memset(&f, 0, sizeof f);
    f.version = s->version;
    f.session = s->session;
    f.seq = ++s->seq;
    f.kind = kind;
    sog_stamp(s, &f, now_ns);
    return f;
}

/* An answer to a hello. */
static sog_frame sog_answer_to(const sog_session *s, const sog_frame *hello, sog_kind kind,
                               uint64_t now_ns) {
    sog_frame f;
    memset(&f, 0, sizeof f);
    f.version = hello->version;
    f.seq = 1;
    f.kind = kind;
    f.nonce = hello->nonce;
    sog_stamp(s, &f, now_ns);
    return f;
}

static void sog_sent(sog_session *s, size_t len) {
    s->tx_len = len;
    s->sent += len != 0;
}

sog_do sog_session_end(sog_session *s, uint64_t now_ns) {
    s->tx_len = 0;
    if (s->session) {
        sog_frame f = sog_frame_of(s, SOG_BYE, now_ns);
        sog_sent(s, sog_seal(&f, s->options.key, s->tx, s->tx_room));
    }
    sog_begin(s, 0, 0, now_ns);
    return SOG_DO_END;
}

/* Without math.h. */
static float sog_infinity(void) {
    const uint32_t bits = 0x7f800000;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static bool sog_finite(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x7f800000) != 0x7f800000;
}

/* Whether the bounds of a policy are those of the robot, where it states them. */
static bool sog_same_bounds(const sog_spec *spec, const float *ours, sog_bytes theirs) {
    size_t i;
    if (theirs.len != 4 * (size_t)spec->action_dim) return false;
    for (i = 0; ours && i < spec->action_dim; i++) {
        float off = ours[i] - sog_get_float(theirs, i), size = ours[i] < 0 ? -ours[i] : ours[i];
        float most = 1e-6f * (size > 1 ? size : 1);
        /* Written so that NaN differs. */
        if (!(off <= most && -off <= most)) return false;
    }
    return true;
}

/* Whether a hello brings no contract and asks for the robot's. */
static bool sog_is_asking(const sog_frame *hello) {
    return hello->version >= 2 && hello->contract.task.len == 0 &&
           hello->contract.obs_terms.len == 0;
}

/* The period that a hello asks for; who asks what the robot is may leave it to the robot. */
static uint64_t sog_period(const sog_spec *spec, const sog_frame *hello) {
    if (hello->period_ns == 0 && sog_is_asking(hello)) return (uint64_t)(spec->dt_s * 1e9 + 0.5);
    return hello->period_ns;
}

/* Why a policy does not fit; NULL if it does. */
static const char *sog_misfit(const sog_spec *spec, const sog_frame *hello) {
    const sog_contract own = sog_contract_of(spec), *ours = &own, *theirs = &hello->contract;
    double off = ours->dt_s - theirs->dt_s, most = 1e-9 * ours->dt_s;
    if (!sog_same(ours->task, theirs->task)) return "the policy is for another task";
    if (!sog_same(ours->obs_terms, theirs->obs_terms))
        return "the policy has other observation terms";
    if (!sog_same(ours->action_terms, theirs->action_terms))
        return "the policy has other action terms";
    /* Written so that NaN differs. */
    if (!(off <= most && -off <= most)) return "the policy has another control period";
    if (hello->version >= 2 && !(sog_same_bounds(spec, spec->action_low, theirs->action_low) &&
                                 sog_same_bounds(spec, spec->action_high, theirs->action_high)))
        return "the policy has other action bounds";
    return NULL;
}

/* Why a hello is refused; NULL if it is not. */
static const char *sog_refusal(const sog_spec *spec, const sog_frame *hello) {
    const uint64_t period_ns = sog_period(spec, hello);
    const char *misfit = sog_is_asking(hello) ? NULL : sog_misfit(spec, hello);
    if (misfit) return misfit;
    if (period_ns < 500000 || period_ns > 1000000000)
        return "the period must be from 0.5 ms to 1 s";
    return NULL;
}

static sog_do sog_drop(sog_session *s, sog_fate fate) {
    s->dropped[fate]++;
    if (fate == SOG_REORDERED && s->dropped[SOG_LOST]) s->dropped[SOG_LOST]--;
    return SOG_DO_NOTHING;
}

/* The robot's own contract; no bounds where it states none. */
static void sog_put_own_contract(sog_writer *w, const sog_spec *spec) {
    const sog_contract own = sog_contract_of(spec);
    sog_put_blob(w, own.task);
    sog_put_blob(w, own.obs_terms);
    sog_put_blob(w, own.action_terms);
    sog_put_double(w, own.dt_s);
    sog_put_numbers(w, spec->action_low, spec->action_low ? spec->action_dim : 0, 0.0f);
    sog_put_numbers(w, spec->action_high, spec->action_high ? spec->action_dim : 0, 0.0f);
}

/* A packet while there is no session. */
static sog_do sog_stranger(sog_session *s, const sog_frame *f, uint64_t now_ns) {
    const sog_spec *spec = s->spec;
    sog_frame answer;
    sog_writer w;
    const char *refusal;
    if (s->granted && f->session == s->granted && f->version == s->granted_version &&
        f->kind == SOG_READY) {
        sog_begin(s, f->session, f->seq, now_ns);
        s->version = f->version;
        s->period_ns = s->granted_period_ns;
        s->granted = 0;
        s->received++;
        s->sessions++;
        return SOG_DO_START;
    }
    if (f->kind != SOG_HELLO) return sog_drop(s, SOG_FOREIGN);
    refusal = sog_refusal(spec, f);
    if (refusal) {
        answer = sog_answer_to(s, f, SOG_REFUSE, now_ns);
        answer.reason = sog_text(refusal);
        sog_sent(s, sog_seal(&answer, s->options.key, s->tx, s->tx_room));
        return SOG_DO_NOTHING;
    }
    /* Who asks again, because the answer takes its time, gets the same session. */
    if (!s->granted || s->granted_nonce != f->nonce || s->granted_version != f->version) {
        /* Never 0, which means that there is no session. */
        s->granted = s->options.random() | 1;
        s->granted_nonce = f->nonce;
        s->granted_version = f->version;
        s->granted_period_ns = sog_period(spec, f);
    }
    answer = sog_answer_to(s, f, SOG_WELCOME, now_ns);
    answer.session = s->granted;
    w = sog_head(&answer, s->tx, s->tx_room);
    sog_put_varint(&w, f->nonce);
    if (sog_is_asking(f)) {
        sog_put_own_contract(&w, spec);
    } else {
        /* It fits, so that what the controller has said of itself holds for the robot. */
        sog_put_contract(&w, &f->contract, f->version);
    }
    sog_put_byte(&w, s->options.lock_step);
    sog_put_numbers(&w, spec->damping_action, spec->action_dim, 0.0f);
    sog_put_numbers(&w, spec->stop_action, spec->action_dim, 0.0f);
    sog_put_numbers(&w, spec->max_action_step, spec->action_dim, sog_infinity());
    sog_sent(s, sog_tail(&w, s->options.key));
    return SOG_DO_NOTHING;
}

/* Puts the last observation into the send buffer. */
static void sog_send_observation(sog_session *s, uint64_t now_ns) {
    sog_frame f;
    sog_writer w;
    if (!s->values) return;
    f = sog_frame_of(s, s->version >= 2 ? SOG_GUIDED : SOG_OBSERVATION, now_ns);
    f.step = s->step;
    f.has_reward = s->extra.has_reward;
    f.reward = s->extra.reward;
    f.terminated = s->extra.terminated;
    f.follows = s->follows;
    w = sog_head(&f, s->tx, s->tx_room);
    sog_put_seen(&w, &f);
    sog_put_numbers(&w, s->values, s->spec->obs_dim, 0.0f);
    if (f.kind == SOG_GUIDED) {
        sog_put_byte(&w, s->extra.applied != NULL);
        if (s->extra.applied) sog_put_numbers(&w, s->extra.applied, s->spec->action_dim, 0.0f);
        sog_put_varint(&w, s->extra.buttons);
        sog_put_byte(&w, s->extra.taken_over);
    }
    sog_sent(s, sog_tail(&w, s->options.key));
}

/* Takes over what follows from a command; what the robot must do. */
static sog_do sog_obey(sog_session *s, sog_command command) {
    static const sog_do todo[] = {SOG_DO_ACT, SOG_DO_DAMP, SOG_DO_STOP, SOG_DO_RESET};
    if (command == SOG_STOP) {
        s->stopped = true;
        s->follows = false;
    } else if (command == SOG_RESET) {
        s->stopped = false;
        s->follows = true;
    } else if (s->stopped) {
        command = SOG_STOP;
    } else if (!s->follows) {
        command = SOG_DAMP;
    }
    s->commands[command]++;
    return todo[command];
}

/* How many numbers a new packet skips (in *gap), or why it is dropped. */
static sog_fate sog_order(sog_session *s, uint32_t seq, uint32_t *gap) {
    uint32_t behind;
    if (seq == 0) return SOG_FOREIGN;
    if (seq > s->newest) {
        uint32_t ahead = seq - s->newest;
        s->seen = (ahead < SOG_WINDOW ? s->seen << ahead : 0) | 1;
        s->newest = seq;
        *gap = ahead - 1;
        return SOG_GOOD;
    }
    behind = s->newest - seq;
    if (behind >= SOG_WINDOW || s->seen >> behind & 1) return SOG_DUPLICATED;
    s->seen |= UINT64_C(1) << behind;
    return SOG_REORDERED;
}

/* How much longer than the quickest a packet was on its way. The clocks of both ends need not
 * agree: only differences of transit times count. */
static uint64_t sog_age(sog_session *s, uint64_t sent_ns, uint64_t now_ns) {
    uint64_t wrapped = now_ns - sent_ns;
    int64_t transit, least;
    /* Two's complement without relying on how the machine converts. */
    transit = wrapped <= INT64_MAX ? (int64_t)wrapped : -(int64_t)(UINT64_MAX - wrapped) - 1;
    if (s->leasts == 0 || now_ns - s->window_from_ns > SOG_TRANSIT_WINDOW_NS) {
        /* Bit 0: there is a least of this window; bit 1: of the one before. */
        s->least_ns[1] = s->least_ns[0];
        s->leasts = (uint8_t)((s->leasts & 1) << 1);
        s->window_from_ns = now_ns;
    }
    if (!(s->leasts & 1) || transit < s->least_ns[0]) s->least_ns[0] = transit;
    s->leasts |= 1;
    least = s->least_ns[0];
    if (s->leasts & 2 && s->least_ns[1] < least) least = s->least_ns[1];
    return (uint64_t)transit - (uint64_t)least;
}

static sog_do sog_take_command(sog_session *s, const sog_frame *f, uint64_t now_ns) {
    uint32_t i, n = s->spec->action_dim;
    if (f->command == SOG_ACT) {
        bool fits = f->action.len == 4 * (size_t)n;
        for (i = 0; fits && i < n; i++) fits = sog_finite(sog_get_float(f->action, i));
        if (!fits) {
            sog_rest(s);
            return sog_drop(s, SOG_MISFIT);
        }
        for (i = 0; i < n; i++) s->action[i] = sog_get_float(f->action, i);
    }
    s->heard_ns = now_ns;
    s->heard = s->commanded = true;
    if (s->options.lock_step) {
        if (f->step == s->step) return sog_obey(s, f->command);
        /* It asks again: the answer was lost. */
        sog_send_observation(s, now_ns);
        return SOG_DO_NOTHING;
    }
    s->last = f->command;
    /* A stop or a reset is never overtaken by what comes after it. */
    if (f->command == SOG_STOP || f->command == SOG_RESET) return sog_obey(s, f->command);
    return SOG_DO_NOTHING;
}

sog_do sog_session_receive(sog_session *s, const uint8_t *packet, size_t len, uint64_t now_ns) {
    sog_frame f;
    uint32_t gap = 0;
    sog_fate fate = sog_open(packet, len, s->options.key, &f);
    s->tx_len = 0;
    if (fate != SOG_GOOD) return sog_drop(s, fate);
    if (!s->session) return sog_stranger(s, &f, now_ns);
    if (f.version != s->version) return sog_drop(s, SOG_VERSION);
    if (f.session != s->session) return sog_drop(s, SOG_FOREIGN);
    fate = sog_order(s, f.seq, &gap);
    if (fate != SOG_GOOD) return sog_drop(s, fate);
    s->dropped[SOG_LOST] += gap;
    /* A stop is obeyed whenever it comes. */
    if (sog_age(s, f.sent_ns, now_ns) > s->options.late_periods * s->period_ns &&
        !s->options.lock_step && !(f.kind == SOG_COMMAND && f.command == SOG_STOP))
        return sog_drop(s, SOG_LATE);
    s->echo_seq = f.seq;
    s->echo_ns = now_ns;
    s->received++;
    switch (f.kind) {
    case SOG_BYE:
        return sog_session_end(s, now_ns);
    case SOG_COMMAND:
        return sog_take_command(s, &f, now_ns);
    case SOG_READY:
        s->heard_ns = now_ns;
        s->heard = true;
        if (s->options.lock_step) sog_send_observation(s, now_ns);
        return SOG_DO_NOTHING;
    case SOG_AGAIN:
        /* The newest is all that is kept here. */
        s->heard_ns = now_ns;
        s->heard = true;
        if (s->values && f.first <= s->step && s->step - f.first < f.count)
            sog_send_observation(s, now_ns);
        return SOG_DO_NOTHING;
    default:
        return sog_drop(s, SOG_FOREIGN);
    }
}

sog_do sog_session_tick(sog_session *s, uint64_t now_ns) {
    s->tx_len = 0;
    if (!s->session) return SOG_DO_NOTHING;
    if (s->options.lock_step) {
        if (now_ns - s->heard_ns <= SOG_SILENCE_NS) return SOG_DO_NOTHING;
        s->watchdog++;
        return sog_session_end(s, now_ns);
    }
    s->uncommanded = s->commanded ? 0 : s->uncommanded + 1;
    s->unheard = s->heard ? 0 : s->unheard + 1;
    s->commanded = s->heard = false;
    /* Only an action must not go on without its controller: in damping silence does no harm. */
    if (s->last == SOG_ACT && s->uncommanded >= s->options.watchdog_periods) {
        s->watchdog += s->follows;
        s->follows = false;
        s->last = SOG_DAMP;
    }
    /* A controller that says nothing for a second is gone. */
    if (s->unheard >= s->options.watchdog_periods + UINT64_C(1000000000) / s->period_ns)
        return sog_session_end(s, now_ns);
    if (s->last == SOG_RESET) {
        /* Obeyed when it came, and once is enough. */
        s->last = SOG_DAMP;
        return SOG_DO_NOTHING;
    }
    return sog_obey(s, s->last);
}

bool sog_session_wants_observation(const sog_session *s, sog_do done) {
    return done == SOG_DO_START ||
           (s->session && s->options.lock_step && done != SOG_DO_NOTHING);
}

void sog_session_observe(sog_session *s, const float *values, const sog_extra *extra,
                         uint64_t now_ns) {
    static const sog_extra none = {false, 0.0, false, NULL, 0, false};
    s->tx_len = 0;
    s->values = values;
    s->extra = extra ? *extra : none;
    if (s->observed) s->step++;
    s->observed = true;
    s->steps++;
    if (s->session) sog_send_observation(s, now_ns);
}

#endif /* SOG_ROBOT_IMPLEMENTATION */
