// How much of a text's room is used, once that matters.

import { charsOf } from './text';

/** From this part of the room on. */
const SHOWN_FROM = 0.8;

interface CounterProps {
  id: string;
  text: string;
  max: number;
}

export function Counter({ id, text, max }: CounterProps) {
  // A text of fewer UTF-16 units has fewer characters too.
  const chars = text.length < max * SHOWN_FROM ? 0 : charsOf(text);
  const isOver = chars > max;
  return (
    <span id={id} className="counter" data-over={isOver || undefined} role="status">
      {isOver
        ? `${(chars - max).toLocaleString()} ${chars - max === 1 ? 'character' : 'characters'} too many`
        : chars >= max * SHOWN_FROM && `${chars.toLocaleString()} of ${max.toLocaleString()} characters`}
    </span>
  );
}
