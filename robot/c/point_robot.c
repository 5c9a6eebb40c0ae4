/* An example robot over UDP or a serial line: a point in the plane that goes where it is told, as
 * the task `circles` has it. It sees its last five positions, newest last.
 *
 *     cc -std=c99 -O2 -o point_robot point_robot.c
 *     ./point_robot udp 5600 --lock-step
 *     ./point_robot serial /dev/ttyUSB0 --baud 115200 --key secret --sessions 1
 *
 * and on the control computer
 *
 *     sog-run models/policies/circles-sog-bc.safetensors --robot udp://HOST:5600 --duration 10
 *
 * What is the robot's own is in `point_*`; the rest serves any robot under POSIX.
 */
#define _DEFAULT_SOURCE /* the faster baud rates */

#define SOG_ROBOT_IMPLEMENTATION
#include "sog_robot.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* -- The robot --------------------------------------------------------------------------------- */

enum { S = 10, A = 2 };

typedef struct {
    float trace[S];      /* last five positions */
    float applied[A];    /* the last action */
} point;

static const float point_low[A] = {-1.5f, -1.5f}, point_high[A] = {1.5f, 1.5f};
static const sog_spec point_spec = {
    .task = "circles",
    .obs_terms = "position_history:10",
    .action_terms = "displacement:2",
    .dt_s = 0.01,
    .obs_dim = S,
    .action_dim = A,
    .action_low = point_low,
    .action_high = point_high,
};

static void point_reset(point *p) { memset(p, 0, sizeof *p); }

static void point_act(point *p, const float action[A]) {
    memmove(p->trace, p->trace + A, (S - A) * sizeof p->trace[0]);
    p->trace[S - 2] += action[0];
    p->trace[S - 1] += action[1];
    memcpy(p->applied, action, sizeof p->applied);
}

static void point_rest(point *p) {
    static const float nothing[A] = {0, 0};
    point_act(p, nothing);
}

static void point_do(point *p, sog_do todo, const float *action) {
    switch (todo) {
    case SOG_DO_NOTHING: break;
    case SOG_DO_ACT: point_act(p, action); break;
    case SOG_DO_RESET: point_reset(p); break;
    /* A real robot damps, or cuts its power: at the end too, where the session was stopped. And it takes
     * itself as it is at the start. */
    case SOG_DO_START:
    case SOG_DO_DAMP:
    case SOG_DO_STOP:
    case SOG_DO_END: point_rest(p); break;
    }
}

/* -- The line ---------------------------------------------------------------------------------- */

enum { ROOM = 1024, MOST_AT_ONCE = 64 };

typedef struct {
    int fd;
    bool serial;
    struct sockaddr_in last, peer; /* who spoke last; who alone is heard */
    bool locked;
    sog_framer framer;
    uint8_t rx[ROOM], out[ROOM + ROOM / 254 + 3];
    uint8_t raw[256]; /* bytes of the serial line not yet looked at */
    size_t raw_at, raw_len;
} line;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static uint64_t random_bits(void) {
    uint64_t bits = 0;
    int fd = open("/dev/urandom", O_RDONLY);
    if (fd < 0 || read(fd, &bits, sizeof bits) != (ssize_t)sizeof bits) fail("/dev/urandom");
    close(fd);
    return bits;
}

static void open_udp(line *l, const char *port) {
    struct sockaddr_in local;
    memset(&local, 0, sizeof local);
    local.sin_family = AF_INET;
    local.sin_port = htons((uint16_t)atoi(port));
    /* This machine alone; INADDR_ANY, and a key, for a robot on a network. */
    local.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    l->fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (l->fd < 0 || bind(l->fd, (struct sockaddr *)&local, sizeof local) < 0) fail("UDP");
}

static speed_t speed_of(long baud) {
    switch (baud) {
    case 9600: return B9600;
    case 57600: return B57600;
    case 115200: return B115200;
    case 230400: return B230400;
    case 460800: return B460800;
    case 921600: return B921600;
    default: fprintf(stderr, "%ld baud: add it to speed_of\n", baud); exit(2);
    }
}

static void open_serial(line *l, const char *device, long baud) {
    struct termios t;
    l->serial = true;
    l->fd = open(device, O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (l->fd < 0 || tcgetattr(l->fd, &t) < 0) fail(device);
    cfmakeraw(&t);
    t.c_cflag |= CLOCAL | CREAD;
    cfsetispeed(&t, speed_of(baud));
    cfsetospeed(&t, speed_of(baud));
    if (tcsetattr(l->fd, TCSANOW, &t) < 0) fail(device);
    sog_framer_init(&l->framer, l->rx, sizeof l->rx);
}

/* A packet that cannot be sent is missed by the controller, who asks again. */
static void send_packet(line *l, const uint8_t *packet, size_t len) {
    size_t at = 0, frame;
    if (len == 0) return;
    if (!l->serial) {
        const struct sockaddr_in *to = l->locked ? &l->peer : &l->last;
        if (sendto(l->fd, packet, len, 0, (const struct sockaddr *)to, sizeof *to) < 0)
            perror("send");
        return;
    }
    /* The first zero ends whatever was left unfinished. */
    l->out[0] = 0;
    frame = sog_cobs_encode(packet, len, l->out + 1, sizeof l->out - 2) + 2;
    l->out[frame - 1] = 0;
    while (at < frame) {
        ssize_t n = write(l->fd, l->out + at, frame - at);
        if (n > 0) {
            at += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            struct pollfd p = {l->fd, POLLOUT, 0};
            if (poll(&p, 1, 10) == 0) return;
        } else {
            fail("serial line");
        }
    }
}

/* Waits at most so long for a packet, which then lies in l->rx; its length, else 0. Returns after so
 * many looks all the same: a flood of what is for nobody must not hold up the watchdog. */
static size_t receive_packet(line *l, int wait_ms) {
    uint64_t until = now_ns() + (uint64_t)wait_ms * 1000000;
    int looks;
    for (looks = 0; looks < MOST_AT_ONCE; looks++) {
        struct pollfd p = {l->fd, POLLIN, 0};
        uint64_t now;
        while (l->raw_at < l->raw_len) {
            size_t len = sog_framer_feed(&l->framer, l->raw[l->raw_at++]);
            if (len) return len;
        }
        now = now_ns();
        if (poll(&p, 1, now < until ? (int)((until - now + 999999) / 1000000) : 0) <= 0) return 0;
        if (l->serial) {
            ssize_t n = read(l->fd, l->raw, sizeof l->raw);
            if (n == 0 || (n < 0 && errno != EAGAIN)) return 0;
            l->raw_at = 0;
            l->raw_len = n > 0 ? (size_t)n : 0;
        } else {
            struct sockaddr_in from;
            socklen_t size = sizeof from;
            ssize_t n = recvfrom(l->fd, l->rx, sizeof l->rx, 0, (struct sockaddr *)&from, &size);
            bool strange = l->locked && (from.sin_port != l->peer.sin_port ||
                                         from.sin_addr.s_addr != l->peer.sin_addr.s_addr);
            if (n <= 0 || strange) continue;
            l->last = from;
            return (size_t)n;
        }
    }
    return 0;
}

/* -- Serving ----------------------------------------------------------------------------------- */

static void observe(sog_session *s, line *l, const point *p) {
    sog_extra extra = {false, 0.0, false, NULL, 0, false};
    extra.applied = p->applied;
    sog_session_observe(s, p->trace, &extra, now_ns());
    send_packet(l, s->tx, s->tx_len);
}

static void carry_out(sog_session *s, line *l, point *p, sog_do todo) {
    send_packet(l, s->tx, s->tx_len);
    if (todo == SOG_DO_START && s->sessions > 1) todo = SOG_DO_RESET;
    if (todo != SOG_DO_START) point_do(p, todo, s->action);
}

int main(int argc, char **argv) {
    static line l;
    static uint8_t tx[ROOM];
    static float action[A];
    static sog_key key;
    static point p;
    sog_options options = {NULL, false, 3, 2, random_bits};
    sog_session s;
    long sessions = -1, baud = 921600;
    uint64_t next_ns = 0;
    int i;
    if (argc < 3) {
        fprintf(stderr, "usage: %s udp PORT | serial DEVICE [--lock-step] [--key FILE] "
                        "[--baud N] [--sessions N]\n", argv[0]);
        return 2;
    }
    for (i = 3; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--lock-step") == 0) {
            options.lock_step = true;
            continue;
        }
        if (strcmp(argv[i], "--key") == 0) {
            uint8_t secret[1024];
            FILE *file = fopen(value, "rb");
            size_t len;
            if (!file) fail(value);
            len = fread(secret, 1, sizeof secret, file);
            fclose(file);
            if (!sog_key_init(&key, secret, len)) {
                fprintf(stderr, "%s: fewer than %d bytes\n", value, SOG_MIN_KEY_BYTES);
                return 2;
            }
            options.key = &key;
        } else if (strcmp(argv[i], "--baud") == 0) {
            baud = atol(value);
        } else if (strcmp(argv[i], "--sessions") == 0) {
            sessions = atol(value);
        } else {
            fprintf(stderr, "%s: unknown option\n", argv[i]);
            return 2;
        }
        i++;
    }
    if (strcmp(argv[1], "udp") == 0) open_udp(&l, argv[2]);
    else open_serial(&l, argv[2], baud);
    if (sog_largest_packet(&point_spec) > ROOM) return 2;
    sog_session_init(&s, &point_spec, &options, action, tx, sizeof tx);
    printf("ready\n");
    fflush(stdout);

    while (sessions != 0) {
        bool paced = s.session && !options.lock_step;
        uint64_t now = now_ns();
        int wait_ms = !paced ? 20 : now < next_ns ? (int)((next_ns - now) / 1000000) : 0;
        size_t len = receive_packet(&l, wait_ms);
        sog_do todo = SOG_DO_NOTHING;
        if (len) {
            todo = sog_session_receive(&s, l.rx, len, now_ns());
            carry_out(&s, &l, &p, todo);
            if (sog_session_wants_observation(&s, todo)) observe(&s, &l, &p);
            if (todo == SOG_DO_START) {
                l.peer = l.last;
                l.locked = true;
                next_ns = now_ns() + s.period_ns;
            }
        }
        /* Once a period in real time; in lock step as often as is convenient. */
        if (todo != SOG_DO_END && s.session && (options.lock_step || now_ns() >= next_ns)) {
            todo = sog_session_tick(&s, now_ns());
            carry_out(&s, &l, &p, todo);
            if (s.session && !options.lock_step) {
                observe(&s, &l, &p);
                while (next_ns <= now_ns()) next_ns += s.period_ns;
            }
        }
        if (todo == SOG_DO_END) {
            l.locked = false;
            if (sessions > 0) sessions--;
        }
    }
    printf("%u steps, commands: act %u, damp %u, stop %u, reset %u; dropped: lost %u, corrupt %u, "
           "unauthenticated %u; watchdog %u\n",
           s.steps, s.commands[SOG_ACT], s.commands[SOG_DAMP], s.commands[SOG_STOP],
           s.commands[SOG_RESET], s.dropped[SOG_LOST], s.dropped[SOG_CORRUPT] + l.framer.corrupt,
           s.dropped[SOG_UNAUTHENTICATED], s.watchdog);
    return 0;
}
