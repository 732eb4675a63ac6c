// Two people changed the same text: what the other one wrote, beside one's own, and the choice.

import type { RefObject } from 'react';

interface ConflictProps {
  ref: RefObject<HTMLDivElement | null>;
  /** What is there now. */
  texts: string[];
  onMine: () => void;
  onTheirs: () => void;
}

export function Conflict({ ref, texts, onMine, onTheirs }: ConflictProps) {
  return (
    <div className="conflict" role="alert" ref={ref} tabIndex={-1}>
      <p>Somebody else changed this while you edited it. It now says:</p>
      {texts.map((text, index) => (
        <blockquote key={index}>{text}</blockquote>
      ))}
      <div className="form-actions">
        <button type="button" className="button quiet" onClick={onMine}>
          Keep my text
        </button>
        <button type="button" className="button quiet" onClick={onTheirs}>
          Take theirs
        </button>
      </div>
    </div>
  );
}
