// How long a deletion can be undone. Apart from `useUndo.ts`, which runs in a browser only: the tests read it, too.

export const UNDO_MS = 7_000;
