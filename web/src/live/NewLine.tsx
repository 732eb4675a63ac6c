// Between the comments that the reader has seen and those that are new.

/** The new ones stand above it or below it. */
export function NewLine({ isAbove }: { isAbove: boolean }) {
  return (
    <li className="new-line">
      <span aria-hidden="true">{isAbove ? '↑ New' : '↓ New'}</span>
      <span className="unseen">
        {isAbove ? 'Comments above this are new' : 'Comments below this are new'}
      </span>
    </li>
  );
}
