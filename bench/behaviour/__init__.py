"""How well the watch over behaviour sees, how soon, and how often it cries wolf."""
