// Says that Markdown works where one writes, and shows how the text will look.

import { useState } from 'react';

import { isBlank } from '../text';
import { Prose } from './Prose';

export function MarkdownHelp({ text }: { text: string }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details className="markdown-help" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Markdown works</summary>
      <p className="hint">
        <code>*emphasis*</code> <code>**strong**</code> <code>`code`</code> <code>&gt; quote</code>{' '}
        <code>- list</code> <code>[words](https://…)</code>
      </p>
      {isOpen && !isBlank(text) && (
        <section aria-label="Preview" className="preview">
          <Prose className="text" text={text} />
        </section>
      )}
    </details>
  );
}
