/** The bookkeeping of what several parties share. */
import t from 'tap'
import { type Allowance, SharedBudget } from '../src/concurrency/shared-budget.js'

/** Holds and wants what a test says; `looks` counts how often it was asked to look. */
class Holder {
  held = 0
  wanted = 0
  looks = 0
  look = () => {}
  readonly allowance: Allowance

  constructor(budget: SharedBudget) {
    this.allowance = budget.join({
      held: () => this.held,
      wanted: () => this.wanted,
      look: () => {
        this.looks++
        this.look()
      },
    })
  }

  set(held: number, wanted = held): void {
    this.held = held
    this.wanted = wanted
    this.allowance.changed()
  }
}

t.test('a party alone may have all, and its share is all', async (t) => {
  const { allowance } = new Holder(new SharedBudget(100))
  t.match(allowance, { limit: 100, due: 100, share: 100 })
})

t.test('what others hold is theirs; what they want counts up to their share', async (t) => {
  const budget = new SharedBudget(90, 3)
  const [a, b, c] = [new Holder(budget), new Holder(budget), new Holder(budget)]
  t.equal(a.allowance.limit, 90)
  b.set(10)
  t.equal(a.allowance.limit, 80)
  b.set(10, 200)
  t.equal(a.allowance.limit, 60, 'the share of b is kept free')
  c.set(50)
  t.equal(a.allowance.limit, 10)
  t.equal(a.allowance.due, 30, 'but c is to give back what it holds beyond its share')
  t.equal(c.allowance.limit, 60)
})

t.test('the others look when something changed, and only then', async (t) => {
  const budget = new SharedBudget(20, 2)
  const [a, b] = [new Holder(budget), new Holder(budget)]
  a.set(15)
  t.same([a.looks, b.looks], [0, 1])
  a.set(15)
  t.same([a.looks, b.looks], [0, 1])
})

t.test('one that gives back while it looks has the other look in turn, and it ends', async (t) => {
  const budget = new SharedBudget(20, 2)
  const [a, b] = [new Holder(budget), new Holder(budget)]
  a.set(18)
  a.look = () => {
    while (a.held > a.allowance.due) a.set(a.held - 1)
  }
  b.look = () => {
    while (b.held < b.wanted && b.held < b.allowance.limit) b.set(b.held + 1, b.wanted)
  }
  b.set(1, 9)
  t.same([a.held, b.held], [11, 9])
})
