// Chooses the order of the comments.

import { ORDERS } from './commentOrder';
import { orderBy } from './route';
import { useCommentOrder } from './useRoute';

export function SortControl() {
  const order = useCommentOrder();
  return (
    <label className="sort">
      Sort by{' '}
      <select
        value={order}
        onChange={({ target }) =>
          orderBy(ORDERS.find((each) => each.order === target.value)?.parameter ?? null)
        }
      >
        {ORDERS.map(({ order, label }) => (
          <option key={order} value={order}>
            {label}
          </option>
        ))}
      </select>
    </label>
  );
}
