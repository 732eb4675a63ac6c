// An exchange of urql whose subscriptions continue where they stopped.

import {
  CombinedError,
  type Exchange,
  makeOperation,
  makeResult,
  type Operation,
  stringifyDocument,
} from '@urql/core';
import { filter, make, merge, mergeMap, pipe, takeUntil } from 'wonka';

import { SUBSCRIPTION_INTERRUPTED, type SubscriptionFailure } from './failure.js';
import { type Gap, type Options, type State, subscribe, type Transport } from './resume.js';

export interface ExchangeOptions extends Options {
  /** Takes the gaps, as `gap` of a listener. Without it they come as results with an error, the first one excepted. */
  onGap?: ((gap: Gap, operation: Operation) => unknown) | undefined;
  onState?: ((state: State, operation: Operation, failure?: SubscriptionFailure) => void) | undefined;
}

/**
 * Takes all subscriptions. The options are for all of them, or a function gives them for each; those in `resume` of an
 * operation's context come first.
 */
export function resumingExchange(
  transport: Transport,
  options: ExchangeOptions | ((operation: Operation) => ExchangeOptions) = {},
): Exchange {
  return ({ client, forward }) =>
    (operations) => {
      const isOurs = ({ kind }: Operation) => kind === 'subscription';
      const results = mergeMap((operation: Operation) => {
        const isItsEnd = ({ kind, key }: Operation) => kind === 'teardown' && key === operation.key;
        return pipe(
          resultsOf(transport, operation, typeof options === 'function' ? options(operation) : options, () =>
            client.reexecuteOperation(makeOperation('teardown', operation, operation.context)),
          ),
          takeUntil(pipe(operations, filter(isItsEnd))),
        );
      });
      const isOthers = (operation: Operation) => !isOurs(operation);
      return merge([pipe(operations, filter(isOurs), results), forward(pipe(operations, filter(isOthers)))]);
    };
}

function resultsOf(
  transport: Transport,
  operation: Operation,
  options: ExchangeOptions,
  completed: () => void,
) {
  const own = operation.context.resume as ExchangeOptions | undefined;
  const { onGap, onState, ...rest } = { ...options, ...own };
  const request = {
    query: stringifyDocument(operation.query),
    variables: operation.variables as Record<string, unknown> | undefined,
    extensions: operation.extensions,
  };
  return make<ReturnType<typeof makeResult>>(({ next, complete }) =>
    subscribe(
      transport,
      request,
      {
        next: (result) => next(makeResult(operation, result as Parameters<typeof makeResult>[1])),
        gap(gap) {
          if (onGap) return onGap(gap, operation);
          if (!gap.isFirst) next(failed(operation, [GAP], true));
          return undefined;
        },
        state: (state, failure) => onState?.(state, operation, failure),
        error({ errors }) {
          next(failed(operation, errors, false));
          complete();
        },
        complete() {
          completed();
          complete();
        },
      },
      rest,
    ),
  );
}

/** A result without data: `makeResult` would keep what is null. */
function failed(operation: Operation, graphQLErrors: readonly { message: string }[], hasNext: boolean) {
  const error = new CombinedError({ graphQLErrors: [...graphQLErrors] });
  return { operation, data: undefined, error, extensions: undefined, hasNext, stale: false };
}

/** What a server tells of a gap in a subscription that has no cursor. */
const GAP = {
  message: 'Events from before this moment may be missing.',
  extensions: { code: SUBSCRIPTION_INTERRUPTED },
};
