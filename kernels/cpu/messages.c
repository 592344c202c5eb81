/* The CPU's memory is the host's, so no library of devices moves its messages. */
#include "kernels/cpu/cpu.h"

int messages_find(char name[MESSAGES_NAME], struct fail *why)
{
    *name = 0;
    return fail(why, "device cpu: its memory is the host's");
}

int messages_id(char id[MESSAGES_ID], struct fail *why)
{
    *id = 0;
    return messages_find(id, why);
}

int messages_open(const char id[MESSAGES_ID], int rank, int count, struct fail *why)
{
    char name[MESSAGES_NAME];
    (void)id, (void)rank, (void)count;
    return messages_find(name, why);
}

int messages_begin(struct device *dev, int ticket, const struct device_message *list, int count,
                   struct fail *why)
{
    char name[MESSAGES_NAME];
    (void)dev, (void)ticket, (void)list, (void)count;
    return messages_find(name, why);
}

int messages_ready(struct fail *why)
{
    char name[MESSAGES_NAME];
    return messages_find(name, why);
}

int messages_test(int ticket, struct fail *why)
{
    (void)ticket;
    return messages_ready(why);
}

void messages_close(void) {}
