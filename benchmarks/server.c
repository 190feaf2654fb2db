/* The measured clients' server: one thread, blocking epoll, keep-alive, nothing stored but a count and some moments.

   Arguments: microseconds that an answer takes, how many are served at once (0: all), certificate chain and key (made
   with -DTLS). Answers a login with a quoted token; GET /count with the number of calls scheduled so far; GET /arrivals
   with the moments (seconds of CLOCK_MONOTONIC) at which the first bytes of dialer tasks were read; all else with 1,
   in their order. Prints its port, and ends when its standard input does. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#ifdef TLS
#include <openssl/ssl.h>
static SSL_CTX *tls;
#endif

enum { CONNECTIONS = 4096, ROOM = 65536, QUEUE = 65536, ARRIVALS = 100000 };

struct connection {
    size_t used;
    unsigned lives; /* how many connections had this number before */
#ifdef TLS
    SSL *tls;
#endif
    char bytes[ROOM];
};

struct waiting {
    int64_t due;
    int fd;
    unsigned lives;
};

static struct connection *connections[CONNECTIONS];
static unsigned long scheduled;
static double arrivals[ARRIVALS];
static size_t arrived;
static int64_t service;
static size_t slots;
/* Answers that are due later: all take equally long, so they are due in the order of the requests. */
static struct waiting queue[QUEUE];
static uint64_t first, behind;
static int timer;

static int64_t now(void) {
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return moment.tv_sec * 1000000000LL + moment.tv_nsec;
}

static int contains(const char *text, size_t size, const char *wanted) {
    return memmem(text, size, wanted, strlen(wanted)) != NULL;
}

static size_t body_size(const char *head, const char *end) {
    static const char name[] = "content-length:";
    for (const char *line = head; line < end; line++) {
        if (!strncasecmp(line, name, sizeof name - 1)) return strtoul(line + sizeof name - 1, NULL, 10);
        line = memchr(line, '\n', end - line);
        if (!line) break;
    }
    return 0;
}

static ssize_t receive(int fd, char *bytes, size_t room) {
#ifdef TLS
    SSL *connection = connections[fd]->tls;
    int got = SSL_read(connection, bytes, room);
    if (got > 0) return got;
    int error = SSL_get_error(connection, got);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? -1 : 0;
#else
    ssize_t got = read(fd, bytes, room);
    return got;
#endif
}

static int transmit(int fd, const char *bytes, size_t size) {
    while (size) {
#ifdef TLS
        int put = SSL_write(connections[fd]->tls, bytes, size);
#else
        ssize_t put = write(fd, bytes, size);
#endif
        if (put <= 0) {
            struct pollfd room = {.fd = fd, .events = POLLOUT};
            if (poll(&room, 1, 1000) <= 0) return 0;
            continue;
        }
        bytes += put;
        size -= put;
    }
    return 1;
}

static int answer(int fd, const char *body, size_t size) {
    char text[512];
    int head = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", size);
    if (head + size > sizeof text) return transmit(fd, text, head) && transmit(fd, body, size);
    memcpy(text + head, body, size);
    return transmit(fd, text, head + size);
}

static int tell_arrivals(int fd) {
    char *body = malloc(arrived * 24 + 1);
    size_t size = 0;
    for (size_t i = 0; i < arrived; i++) size += sprintf(body + size, "%.9f\n", arrivals[i]);
    int kept = answer(fd, body, size);
    free(body);
    return kept;
}

static void ring_at(int64_t due) {
    struct itimerspec moment = {.it_value = {due / 1000000000, due % 1000000000}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &moment, NULL);
}

/* One of `slots` is free for it once the answer that many places before it has gone. */
static int serve_later(int fd) {
    if (behind - first == QUEUE) return 0;
    int64_t begin = now();
    if (slots && behind >= slots && behind - slots >= first && queue[(behind - slots) % QUEUE].due > begin)
        begin = queue[(behind - slots) % QUEUE].due;
    queue[behind % QUEUE] = (struct waiting){begin + service, fd, connections[fd]->lives};
    if (first == behind++) ring_at(begin + service);
    return 1;
}

static void serve_due(void) {
    uint64_t ignored;
    if (read(timer, &ignored, sizeof ignored) < 0) return;
    int64_t moment = now();
    for (; first != behind && queue[first % QUEUE].due <= moment; first++) {
        struct waiting *one = &queue[first % QUEUE];
        if (connections[one->fd]->lives == one->lives) answer(one->fd, "1", 1);
    }
    if (first != behind) ring_at(queue[first % QUEUE].due);
}

static int reply(int fd, const char *request, size_t line) {
    char body[128];
    if (contains(request, line, "/arrivals")) return tell_arrivals(fd);
    if (contains(request, line, "/count")) return answer(fd, body, snprintf(body, sizeof body, "%lu", scheduled));
    if (contains(request, line, "/auth/")) {
        static const char token[] = "\"YmVuY2g6NmYxYzJhNTItN2IwZS00ZDUzLTljMWYtMmI4ZjVmMGExZDc3\"";
        return answer(fd, token, sizeof token - 1);
    }
    if (contains(request, line, "/ScheduleDialerCall")) scheduled++;
    else if (contains(request, line, "/DialerTask") && arrived < ARRIVALS) arrivals[arrived++] = now() / 1e9;
    return service ? serve_later(fd) : answer(fd, "1", 1);
}

/* Returns 0 when the connection is over. */
static int serve(int fd) {
    struct connection *c = connections[fd];
    for (;;) {
        ssize_t got = receive(fd, c->bytes + c->used, ROOM - c->used);
#ifdef TLS
        if (got < 0) return 1;
#endif
        if (got <= 0) return 0;
        c->used += got;
        size_t start = 0;
        for (;;) {
            char *request = c->bytes + start;
            char *end = memmem(request, c->used - start, "\r\n\r\n", 4);
            if (!end) break;
            size_t whole = end + 4 - request + body_size(request, end);
            if (c->used - start < whole) break;
            char *line = memchr(request, '\r', whole);
            if (!reply(fd, request, line - request)) return 0;
            start += whole;
        }
        memmove(c->bytes, c->bytes + start, c->used - start);
        c->used -= start;
        if (c->used == ROOM) return 0;
#ifdef TLS
        if (!SSL_pending(c->tls)) return 1;
#else
        return 1;
#endif
    }
}

static void welcome(int epoll, int listener) {
    int on = 1, new = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (new < 0) return;
    if (new >= CONNECTIONS) {
        close(new);
        return;
    }
    setsockopt(new, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (!connections[new]) connections[new] = calloc(1, sizeof *connections[new]);
    connections[new]->used = 0;
#ifdef TLS
    connections[new]->tls = SSL_new(tls);
    SSL_set_fd(connections[new]->tls, new);
    SSL_set_accept_state(connections[new]->tls);
#endif
    struct epoll_event event = {.events = EPOLLIN, .data.fd = new};
    epoll_ctl(epoll, EPOLL_CTL_ADD, new, &event);
}

static void part(int fd) {
    connections[fd]->lives++;
#ifdef TLS
    SSL_free(connections[fd]->tls);
#endif
    close(fd);
}

int main(int count, char **words) {
    if (count > 1) service = 1000 * strtoll(words[1], NULL, 10);
    if (count > 2) slots = strtoul(words[2], NULL, 10);
#ifdef TLS
    if (count < 5) return 2;
    tls = SSL_CTX_new(TLS_server_method());
    if (!SSL_CTX_use_certificate_chain_file(tls, words[3]) || !SSL_CTX_use_PrivateKey_file(tls, words[4], SSL_FILETYPE_PEM))
        return 1;
#endif
    int epoll = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024)) return 1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    int watched[] = {STDIN_FILENO, listener, timer};
    for (int i = 0; i < 3; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = watched[i]};
        epoll_ctl(epoll, EPOLL_CTL_ADD, watched[i], &event);
    }
    struct epoll_event events[256];
    for (;;) {
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == STDIN_FILENO) {
                char ignored[64];
                if (read(fd, ignored, sizeof ignored) <= 0) return 0;
            } else if (fd == listener) {
                welcome(epoll, listener);
            } else if (fd == timer) {
                serve_due();
            } else if (!serve(fd)) {
                part(fd);
            }
        }
    }
}
