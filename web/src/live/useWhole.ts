// All of a post's text, where the page has its beginning alone: asked for at a link, or because the reader has chosen the
// post.

import { type RefObject, useEffect, useLayoutEffect, useRef, useState } from 'react';

import { focusOn } from './focus';
import { isCut } from './graph/cut';
import type { OpenPostFragment } from './graph/generated';
import { readOnce, readWholePost } from './graph/read';
import { chosenAtStart } from './graph/started';

export interface Whole {
  isCut: boolean;
  isLoading: boolean;
  error: unknown;
  /** Tells whether all of it is there. */
  load: () => Promise<boolean>;
}

/** What the reader has asked for, and where the text ended until then. */
interface Awaited {
  post: ParentNode | null;
  parts: number;
  lastWords: string | null | undefined;
}

/** `link`: what leads on, after the text. Its focus goes to where the text goes on. */
export function useWhole(
  post: OpenPostFragment,
  isChosen: boolean,
  link: RefObject<HTMLElement | null>,
): Whole {
  const { id } = post;
  const isPart = isCut(post);
  const [isLoading, setLoading] = useState(false);
  const [error, setError] = useState<unknown>();
  const awaited = useRef<Awaited>(undefined);

  const load = async () => {
    const begun = link.current?.previousElementSibling;
    if (link.current && begun && document.activeElement === link.current) {
      const { childElementCount: parts, lastElementChild } = begun;
      awaited.current = { post: begun.parentNode, parts, lastWords: lastElementChild?.textContent };
    }
    setLoading(true);
    setError(undefined);
    try {
      await readWhole(id);
      return true;
    } catch (failure) {
      setError(failure);
      return false;
    } finally {
      setLoading(false);
    }
  };

  // After each drawing: the text comes when the cache says so, and its link leaves the page.
  useLayoutEffect(() => {
    if (isPart || !awaited.current) return;
    const { post, parts, lastWords } = awaited.current;
    awaited.current = undefined;
    if (document.activeElement !== document.body) return;
    const whole = post?.querySelector('.content');
    const last = whole?.children[parts - 1];
    const next = last?.textContent === lastWords ? whole?.children[parts] : last;
    const goesOn = next ?? whole;
    if (goesOn instanceof HTMLElement) goesOn.tabIndex = -1;
    focusOn(goesOn);
  });

  // A first visit shows what weighs little; whoever has chosen the post from the list came for all of it.
  const comesFor = isPart && isChosen && id !== chosenAtStart;
  useEffect(() => {
    if (comesFor) readWhole(id).catch(setError);
  }, [comesFor, id]);

  return { isCut: isPart, isLoading, error, load };
}

function readWhole(id: string): Promise<unknown> {
  return readOnce(`whole ${id}`, () => readWholePost(id));
}
