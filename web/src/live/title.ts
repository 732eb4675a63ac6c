// The tab's title: what is shown, and how many comments came that were not seen.

const SITE = 'Rejoinder';

let shown: string | undefined;
let unseen = '';

/** Says what is shown, until the returned function is called. */
export function entitle(title: string): () => void {
  shown = title;
  write();
  return () => {
    if (shown === title) shown = undefined;
    write();
  };
}

/** Says how many comments are not seen, as a number with words around it or an empty text. */
export function countUnseen(count: string): void {
  unseen = count;
  write();
}

function write(): void {
  const title = shown === undefined ? SITE : `${shown} · ${SITE}`;
  document.title = unseen === '' ? title : `(${unseen}) ${title}`;
}
