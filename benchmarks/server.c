/* The measured clients' server: one thread, blocking epoll, keep-alive, nothing stored but one count.

   Answers a login with a quoted token, GET /count with the number of calls scheduled so far, all else with 1.
   Prints its port, and ends when its standard input does. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 4096, ROOM = 65536 };

struct connection {
    size_t used;
    char bytes[ROOM];
};

static struct connection *connections[CONNECTIONS];
static unsigned long scheduled;

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

static int answer(int fd, const char *request, size_t line) {
    char body[128] = "1", text[512];
    if (contains(request, line, "/count")) snprintf(body, sizeof body, "%lu", scheduled);
    else if (contains(request, line, "/auth/")) strcpy(body, "\"YmVuY2g6NmYxYzJhNTItN2IwZS00ZDUzLTljMWYtMmI4ZjVmMGExZDc3\"");
    else if (contains(request, line, "/ScheduleDialerCall")) scheduled++;
    int size = snprintf(text, sizeof text,
                        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s",
                        strlen(body), body);
    return write(fd, text, size) == size;
}

/* Returns 0 when the connection is over. */
static int serve(int fd) {
    struct connection *c = connections[fd];
    ssize_t got = read(fd, c->bytes + c->used, ROOM - c->used);
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
        if (!answer(fd, request, line - request)) return 0;
        start += whole;
    }
    memmove(c->bytes, c->bytes + start, c->used - start);
    c->used -= start;
    return c->used < ROOM;
}

int main(void) {
    int on = 1, epoll = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024)) return 1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    int watched[] = {STDIN_FILENO, listener};
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = watched[i]};
        epoll_ctl(epoll, EPOLL_CTL_ADD, watched[i], &event);
    }
    struct epoll_event events[256];
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == STDIN_FILENO) {
                char ignored[64];
                if (read(fd, ignored, sizeof ignored) <= 0) return 0;
            } else if (fd == listener) {
                int new = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                if (new < 0) continue;
                if (new >= CONNECTIONS) { close(new); continue; }
                setsockopt(new, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                if (!connections[new]) connections[new] = malloc(sizeof *connections[new]);
                connections[new]->used = 0;
                struct epoll_event event = {.events = EPOLLIN, .data.fd = new};
                epoll_ctl(epoll, EPOLL_CTL_ADD, new, &event);
            } else if (!serve(fd)) {
                close(fd);
            }
        }
    }
}
