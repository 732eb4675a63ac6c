// Answers the page's first queries from what was asked for while its code was on the way: an Apollo
// link before the one that goes to the server.

import { ApolloLink, Observable } from '@apollo/client';

import type { StartQuery } from './generated';
import { chosenAtStart, openPostOf, started } from './started';

/** The queries that wait to be answered from it, each once. */
const waiting = new Set(['Posts', 'PostPage']);

export function startedLink(): ApolloLink {
  return new ApolloLink((operation, forward) => {
    const { operationName = '', variables } = operation;
    if (!waiting.delete(operationName) || variables.after) return forward(operation);
    return new Observable((observer) => {
      let stop = () => {};
      let stopped = false;
      void started.then((data) => {
        if (stopped) return;
        const answer = data && answerTo(operationName, variables, data);
        if (answer) {
          observer.next({ data: answer });
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

function answerTo(
  operationName: string,
  variables: Record<string, unknown>,
  data: StartQuery,
): Record<string, unknown> | undefined {
  if (operationName === 'Posts') return { posts: data.posts };
  const post = openPostOf(data);
  if (post) return post.id === variables.id ? { post } : undefined;
  return variables.id === chosenAtStart ? { post: null } : undefined;
}
