// A link of Apollo Client 4 whose subscriptions continue where they stopped.

import { ApolloLink, CombinedGraphQLErrors, Observable } from '@apollo/client';
import { print } from 'graphql';

import type { GraphqlError } from './contract.js';
import { SUBSCRIPTION_INTERRUPTED, type SubscriptionFailure } from './failure.js';
import { type Gap, type Options, type State, subscribe, type Transport } from './resume.js';

export interface LinkOptions extends Options {
  /** Takes the gaps, as `gap` of a listener. Without it they come as results with an error, the first one excepted. */
  onGap?: ((gap: Gap) => unknown) | undefined;
  /** The first gap comes as a result, too. */
  tellsFirstGap?: boolean | undefined;
  onState?: ((state: State, failure?: SubscriptionFailure) => void) | undefined;
}

/**
 * Ends a chain of links for subscriptions: `ApolloLink.split` sends it nothing else. The options are for all of them,
 * or a function gives them for each; those in `context: { resume }` of an operation come first.
 */
export function resumingLink(
  transport: Transport,
  options: LinkOptions | ((operation: ApolloLink.Operation) => LinkOptions) = {},
): ApolloLink {
  return new ApolloLink((operation) => {
    const own = operation.getContext().resume as LinkOptions | undefined;
    const { onGap, tellsFirstGap, onState, ...rest } = {
      ...(typeof options === 'function' ? options(operation) : options),
      ...own,
    };
    const request = {
      query: print(operation.query),
      operationName: operation.operationName,
      variables: operation.variables,
      extensions: operation.extensions,
    };
    return new Observable<ApolloLink.Result>((observer) =>
      subscribe(
        transport,
        request,
        {
          next: (result) => observer.next(result as ApolloLink.Result),
          gap(gap) {
            if (onGap) return onGap(gap);
            if (tellsFirstGap || !gap.isFirst) observer.next({ data: null, errors: [GAP] });
            return undefined;
          },
          state: (state, failure) => onState?.(state, failure),
          error: ({ errors }) => observer.error(new CombinedGraphQLErrors({ errors })),
          complete: () => observer.complete(),
        },
        rest,
      ),
    );
  });
}

/** What a server tells of a gap in a subscription that has no cursor. */
const GAP: GraphqlError = {
  message: 'Events from before this moment may be missing.',
  extensions: { code: SUBSCRIPTION_INTERRUPTED },
};
