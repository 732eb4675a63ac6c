// A text that a reader wrote: with its links and Markdown once what draws them is there, and until then as it was typed.

import { memo, useEffect, useSyncExternalStore } from 'react';

import { drawer, loadDrawer, onDrawer } from './drawer';
import { hasMarkup, paragraphsOf } from './markup';

interface ProseProps {
  text: string;
  className: string;
}

/** The text in an element of its own: in a single paragraph where it is one, without markup. */
export const Prose = memo(function Prose({ text, className }: ProseProps) {
  const isMarked = hasMarkup(text);
  const paragraphs = paragraphsOf(text);
  if (!isMarked && paragraphs.length === 1)
    return (
      <p className={className} dir="auto">
        {text}
      </p>
    );
  return (
    <div className={`${className} prose`}>
      {isMarked ? <Marked text={text} /> : <Paragraphs paragraphs={paragraphs} />}
    </div>
  );
});

function Marked({ text }: { text: string }) {
  const draw = useSyncExternalStore(onDrawer, drawer);
  useEffect(() => void loadDrawer(), []);
  // The same paragraphs meanwhile, so that little moves when it is drawn.
  return draw ? draw(text) : <Paragraphs paragraphs={paragraphsOf(text)} />;
}

function Paragraphs({ paragraphs }: { paragraphs: readonly string[] }) {
  return paragraphs.map((paragraph, index) => (
    <p key={index} dir="auto">
      {paragraph}
    </p>
  ));
}
