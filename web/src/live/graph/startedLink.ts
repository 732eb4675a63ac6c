// Answers the page's first queries from what was asked for while its code was on the way: an Apollo
// link before the one that goes to the server.

import { ApolloLink, Observable } from '@apollo/client';

import { chosenAtStart, commentsBegin, openPostOf, postsBegin, started, startedComments } from './started';

type Answer = Record<string, unknown> | undefined;

/** Where the lists begin that were asked for, by the query that shows them. */
const begin = new Map([
  ['Posts', postsBegin],
  ['PostComments', commentsBegin],
]);

/** The queries that wait to be answered from it, each once. */
const waiting = new Map<string, (id: unknown) => Promise<Answer>>([
  [
    'Posts',
    async () => {
      const data = await started;
      return data && { posts: data.posts };
    },
  ],
  [
    'Post',
    async (id) => {
      const data = await started;
      return data && ofPost(id, openPostOf<NonNullable<typeof data.chosen>>(data));
    },
  ],
  [
    'PostComments',
    async (id) => {
      const data = await startedComments;
      return data && ofPost(id, openPostOf<NonNullable<typeof data.chosen>>(data));
    },
  ],
]);

export function startedLink(): ApolloLink {
  return new ApolloLink((operation, forward) => {
    const { operationName = '', variables } = operation;
    const take = waiting.get(operationName);
    const isFirstOrder = variables.orderBy === undefined || variables.orderBy === 'NEWEST_FIRST';
    if (!take || (variables.after ?? undefined) !== begin.get(operationName)) return forward(operation);
    // Also where it is in another order: a later query would get what was true at the start.
    waiting.delete(operationName);
    if (!isFirstOrder) return forward(operation);
    return new Observable((observer) => {
      let stop = () => {};
      let stopped = false;
      void take(variables.id).then((data) => {
        if (stopped) return;
        if (data) {
          observer.next({ data });
          observer.complete();
        } else {
          const sent = forward(operation).subscribe(observer);
          stop = () => sent.unsubscribe();
        }
      });
      return () => {
        stopped = true;
        stop();
      };
    });
  });
}

function ofPost(id: unknown, post: { id: string } | null | undefined): Answer {
  if (post) return post.id === id ? { post } : undefined;
  return id === chosenAtStart ? { post: null } : undefined;
}
