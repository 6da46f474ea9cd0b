/* A dqlite node with the command line of `ferrolite serve`, for the comparison of this folder.
 *
 *     dqlite-server serve --id N --address HOST:PORT --data-dir DIR [anything else]
 *
 * Node 1 bootstraps a cluster, others wait until a client adds them. All settings are dqlite's defaults.
 */
#include <dqlite.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *option(int count, char **words, const char *name)
{
	for (int i = 1; i + 1 < count; i++) {
		if (strcmp(words[i], name) == 0) {
			return words[i + 1];
		}
	}
	fprintf(stderr, "dqlite-server: %s is missing\n", name);
	exit(2);
}

int main(int count, char **words)
{
	dqlite_node_id id = strtoull(option(count, words, "--id"), NULL, 10);
	const char *address = option(count, words, "--address");
	const char *directory = option(count, words, "--data-dir");
	dqlite_node *node;
	sigset_t ends;
	int which;

	/* Before any thread of dqlite's is there, so that none of them takes the signal. */
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	signal(SIGPIPE, SIG_IGN);

	mkdir(directory, 0755);
	if (dqlite_node_create(id, address, directory, &node) != 0 ||
	    dqlite_node_set_bind_address(node, address) != 0 || dqlite_node_start(node) != 0) {
		fprintf(stderr, "dqlite-server: node %llu does not start: %s\n", id, dqlite_node_errmsg(node));
		return 1;
	}
	printf("ready: node %llu serves on %s\n", id, address);
	fflush(stdout);
	sigwait(&ends, &which);
	dqlite_node_stop(node);
	dqlite_node_destroy(node);
	return 0;
}
